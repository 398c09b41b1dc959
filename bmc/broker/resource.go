package broker

import "time"

// Resource is the answer to one GET.
type Resource struct {
	Status      int
	Body        []byte // nil when NotModified
	ETag        string // as given, with W/ and quotes
	NotModified bool   // 304 to the ETag that was sent
	Latency     time.Duration
}
