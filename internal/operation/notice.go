package operation

import (
	"time"

	"github.com/cagenut/cagenut/internal/asset"
)

// NoticeKind is what a notice is about.
type NoticeKind string

// The kinds of notices.
const (
	NoticeInService NoticeKind = "in-service" // a machine has gone in service
	NoticeWaiting   NoticeKind = "waiting"    // a run waits for a person
	NoticeEnded     NoticeKind = "ended"      // an operation has ended
)

// Notice is what people are told, by webhook.
type Notice struct {
	Kind      NoticeKind `json:"kind"`
	Operation ID         `json:"operation"`
	Asset     asset.Ref  `json:"asset,omitzero"`
	Text      string     `json:"text"`           // one line for people
	Page      string     `json:"page,omitempty"` // where they see more
	At        time.Time  `json:"at"`
}

// Key makes telling twice harmless. A run may wait more than once: each time has its At.
func (n Notice) Key() string {
	key := "notice/" + string(n.Operation) + "/" + string(n.Kind)
	if n.Asset.ID != 0 {
		key += "/" + n.Asset.ID.String()
	}
	if n.Kind == NoticeWaiting {
		key += "/" + n.At.UTC().Format(time.RFC3339Nano)
	}
	return key
}
