package operation

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
)

// Purpose is what a machine boots for.
type Purpose string

// The purposes.
const (
	ForAgent   Purpose = "agent"   // the agent in RAM
	ForInstall Purpose = "install" // an installer of an operating system
)

// BootRecord is why a machine of an operation boots over the network, and what it is given then. An
// asset has at most one that is open. It holds references and public keys; of its tokens only the
// SHA-256 is kept anywhere.
type BootRecord struct {
	ID        int64     `json:"id"` // given by the store
	Operation ID        `json:"operation"`
	Asset     asset.Ref `json:"asset"` // as the plan froze it
	Step      string    `json:"step"`  // that opened it
	Purpose   Purpose   `json:"purpose"`
	Attempt   int       `json:"attempt"` // of the step
	// MACs are those of the machine's ports, in NetBox's form. Whoever reports must have one of them.
	MACs   []string `json:"macs"`
	Serial string   `json:"serial,omitempty"` // empty: not compared
	UUID   string   `json:"uuid,omitempty"`   // empty: not compared
	// Machine is a templates.Machine without its one-time URL, which is completed by the boot service.
	Machine json.RawMessage `json:"machine"`
	Stages  []string        `json:"stages,omitempty"` // that the machine reported, in the order in which they came first
	Opened  time.Time       `json:"opened"`
	Expires time.Time       `json:"expires"`
	Revoked time.Time       `json:"revoked,omitzero"` // when it was closed; zero: open
	Run     State           `json:"run,omitempty"`    // of the run that it belongs to
	Claimed *BootIdentity   `json:"claimed,omitempty"`
}

// BootOpen asks to open a record. Its token was made by the caller, who alone knows it.
type BootOpen struct {
	Operation ID
	Asset     asset.ID
	Step      string
	Purpose   Purpose
	Attempt   int
	TokenSum  BootSum
	MACs      []string
	Serial    string
	UUID      string
	Machine   json.RawMessage
	At        time.Time
	Expires   time.Time
}

// BootSum is the SHA-256 of a one-time token, in hexadecimal.
type BootSum string

// NewBootToken makes a one-time token of 256 random bits, and what is kept of it.
func NewBootToken() (string, BootSum, error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", "", err
	}
	token := base64.RawURLEncoding.EncodeToString(raw)
	return token, SumBootToken(token), nil
}

// SumBootToken is what is kept of a token.
func SumBootToken(token string) BootSum {
	sum := sha256.Sum256([]byte(token))
	return BootSum(hex.EncodeToString(sum[:]))
}

// Bytes are the 32 bytes of a sum; false when it is none.
func (s BootSum) Bytes() ([]byte, bool) {
	raw, err := hex.DecodeString(string(s))
	return raw, err == nil && len(raw) == sha256.Size
}

// Prove returns nil when an identity is that of the record's machine, and fault.WrongMachine when it
// is not. A serial or UUID counts where both sides have one; a MAC always.
func (b BootRecord) Prove(i BootIdentity) error {
	i = i.Normal()
	refuse := func(subject, expected, seen string) error {
		e := fault.New(fault.WrongMachine, "%s is %s, where %s of %s has %s: this is another machine", subject, seen, b.Asset.Name, b.Operation, expected)
		e.Details = []fault.Item{{Subject: subject, Expected: expected, Seen: seen}}
		return e
	}
	if !slices.ContainsFunc(i.MACs, func(mac string) bool { return slices.Contains(b.MACs, mac) }) {
		return refuse("mac", strings.Join(b.MACs, ", "), orNone(strings.Join(i.MACs, ", ")))
	}
	if b.Serial != "" && len(i.Serials) > 0 && !slices.ContainsFunc(i.Serials, func(s string) bool { return asset.SameSerial(s, b.Serial) }) {
		return refuse("serial", b.Serial, strings.Join(i.Serials, ", "))
	}
	if b.UUID != "" && i.UUID != "" && !strings.EqualFold(b.UUID, i.UUID) {
		return refuse("uuid", b.UUID, i.UUID)
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// Stages that the boot service and the store note by themselves. Machines report those of package
// templates.
const (
	StageAsked   = "asked"         // the machine got a script that boots more than its disk
	StageFetched = "fetched"       // its installer runs: it fetched its answers
	StageClaimed = "agent-claimed" // the agent runs on the right machine
	StageRefused = "refused"       // something was refused: another machine, another claim
)

// own are the stages that no machine reports.
var own = []string{StageAsked, StageFetched, StageClaimed, StageRefused}

// OwnStage tells that a stage is noted by us and never taken from a machine.
func OwnStage(stage string) bool { return slices.Contains(own, stage) }

var stageForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

// ValidStage tells whether a stage can be kept.
func ValidStage(stage string) bool { return stageForm.MatchString(stage) }

// Answer is what a booting machine is given.
type Answer string

// The answers.
const (
	AnswerLocal   Answer = "local" // boot the disk
	AnswerAgent   Answer = "agent"
	AnswerInstall Answer = "install"
)

// Answer decides what the record's machine boots at a time, and why it is the disk when it is. A
// machine whose disk an installer has begun to overwrite is never given the installer again, nor one
// whose agent has written an image the agent: the operator's retry opens another record.
func (b BootRecord) Answer(now time.Time) (Answer, string) {
	if err := b.Live(now); err != nil {
		return AnswerLocal, err.Error()
	}
	if b.Run == Waiting { // whoever looks into it wants the machine as it is; a retry opens another record
		return AnswerLocal, string(b.Operation) + " waits for a person"
	}
	past := []string{AgentWriteImage, "installed", "first-boot"}
	if b.Purpose == ForInstall {
		past = []string{"partitioned", "installed", "first-boot", "failed"}
	}
	for _, stage := range past {
		if slices.Contains(b.Stages, stage) {
			return AnswerLocal, "the machine has reported " + stage
		}
	}
	switch b.Purpose {
	case ForAgent:
		return AnswerAgent, ""
	case ForInstall:
		return AnswerInstall, ""
	}
	return AnswerLocal, "purpose " + string(b.Purpose) + " is not known to this version"
}

// Live returns nil while the record may be used: fault.BootUsed when it was closed or its run has
// ended, fault.BootExpired when its time is over.
func (b BootRecord) Live(now time.Time) error {
	switch {
	case !b.Revoked.IsZero():
		return fault.New(fault.BootUsed, "the boot record of %s in %s was closed at %s", b.Asset.Name, b.Operation, b.Revoked.UTC().Format(time.RFC3339))
	case b.Run.Ended():
		return fault.New(fault.BootUsed, "%s is %s for %s", b.Operation, b.Run, b.Asset.Name)
	case !now.Before(b.Expires):
		return fault.New(fault.BootExpired, "the boot record of %s in %s expired at %s", b.Asset.Name, b.Operation, b.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// BootEvent is what a machine told, or what happened to its record.
type BootEvent struct {
	Boot     int64     `json:"boot"`
	Sequence int64     `json:"sequence"` // rises over all events of all machines
	Stage    string    `json:"stage"`
	Digest   string    `json:"digest"` // DigestOf stage and body
	Body     []byte    `json:"body"`
	From     string    `json:"from,omitempty"` // address of the sender
	At       time.Time `json:"at"`
}

// BootState is a boot record with what its machine told, in order.
type BootState struct {
	Record BootRecord  `json:"record"`
	Events []BootEvent `json:"events"`
}

// Heard answers an event.
type Heard struct {
	Sequence int64  `json:"sequence"`
	Digest   string `json:"digest"`
	Repeated bool   `json:"repeated"` // it was known already
}

// DigestOf identifies an event within its record: SHA-256 of stage and body, in hexadecimal.
func DigestOf(stage string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(stage + "\n"))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// MaxStageBody is the most that is taken in of a stage.
const MaxStageBody = 64 << 10

// maxValue is the most that is kept of one line that a machine reports: more than any key needs.
const maxValue = 4000

// ParseReport reads the lines key=value of a stage's body. A key may stand several times; lines
// without "=" are left out. Values are cut at 4,000 bytes, and freed of control characters: they reach people.
func ParseReport(body []byte) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(string(body)) {
		if key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok {
			value = strings.ToValidUTF8(value[:min(len(value), maxValue)], "")
			out[key] = append(out[key], strings.Map(func(r rune) rune {
				if unicode.IsControl(r) {
					return -1
				}
				return r
			}, value))
		}
	}
	return out
}

// IdentityOf reads who reports out of a stage's body.
func IdentityOf(body []byte) BootIdentity {
	r := ParseReport(body)
	i := BootIdentity{MACs: r["mac"], Serials: slices.Concat(r["product_serial"], r["board_serial"])}
	if ids := r["product_uuid"]; len(ids) > 0 {
		i.UUID = ids[0]
	}
	return i
}
