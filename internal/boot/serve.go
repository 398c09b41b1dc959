package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/templates"
)

const script = "text/plain; charset=utf-8"

// scripts are the iPXE scripts, with the answer that each of them is.
var scripts = map[string]operation.Answer{
	"agent.ipxe": operation.AnswerAgent, "installer.ipxe": operation.AnswerInstall, "local.ipxe": operation.AnswerLocal,
}

// answers are the files by which an installer shows that it runs.
var answers = []string{"preseed.cfg", "kickstart.cfg", "user-data"}

// machine answers a machine that knows only its MAC: what DHCP hands to iPXE.
func (s *Server) machine(w http.ResponseWriter, r *http.Request) {
	mac, ok := asset.NormalMAC(r.PathValue("mac"))
	if !ok {
		http.Error(w, "this is no MAC address", http.StatusNotFound)
		return
	}
	record, token, err := s.recordOf(r.Context(), mac)
	if err != nil {
		s.local(w, r, mac, failed(err))
		return
	}
	s.boot(w, r, record, token, mac)
}

// boot answers with the script that a record asks for.
func (s *Server) boot(w http.ResponseWriter, r *http.Request, b operation.BootRecord, token, mac string) {
	what, why := b.Answer(s.o.Clock())
	if what == operation.AnswerLocal {
		s.local(w, r, mac, &fault.Error{Message: why})
		return
	}
	name := "agent.ipxe"
	if what == operation.AnswerInstall {
		name = "installer.ipxe"
	}
	f, err := s.render(b, token, name)
	if err != nil {
		s.local(w, r, mac, failed(err))
		return
	}
	body := ""
	if len(b.MACs) > 0 {
		body = "mac=" + b.MACs[0] + "\n"
	}
	s.note(r.Context(), b, token, operation.StageAsked, body, from(r))
	give(w, script, f.Data)
}

func (s *Server) render(b operation.BootRecord, token, name string) (templates.File, error) {
	m, err := templates.FromRecord(b.Machine, s.base(token))
	if err != nil {
		return templates.File{}, err
	}
	return s.o.Templates.File(m, name)
}

// local sends a machine to its disk, and says why in the script, in the log and in the report.
func (s *Server) local(w http.ResponseWriter, r *http.Request, mac string, why *fault.Error) {
	text := oneLine(why.Message)
	s.o.Log.Info("a machine was sent to its disk", "mac", mac, "from", from(r), "code", string(why.Code), "why", text)
	if s.o.Report != nil {
		s.o.Report(Report{At: s.o.Clock(), MAC: mac, From: from(r), Why: text, Code: why.Code})
	}
	raw, err := s.o.Templates.Local()
	if err != nil {
		s.o.Log.Error("the script that boots the disk cannot be rendered", "error", err)
		http.Error(w, "no script", http.StatusInternalServerError)
		return
	}
	first, rest, _ := bytes.Cut(raw, []byte("\n"))
	give(w, script, slices.Concat(first, []byte("\n# "+text+"\n"+s.once(r, why)), rest))
}

// Where the API is away, a machine asks again for a while before it boots its disk: an API that is started
// anew must not cost a run its boot, and one that is gone must not keep a machine in service from its disk.
const (
	askAgain = 24
	askPause = 5 // seconds
)

// once are the lines that have a machine ask once more; none, when that would not help or was done enough.
func (s *Server) once(r *http.Request, why *fault.Error) string {
	n, err := strconv.Atoi(r.URL.Query().Get("again"))
	if err != nil {
		n = 0
	}
	if why.Code == "" || why.Class() != fault.Retry || n < 0 || n >= askAgain {
		return ""
	}
	return fmt.Sprintf("sleep %d\nchain --replace %s%s?again=%d ||\n", askPause, s.o.Base, r.URL.EscapedPath(), n+1)
}

// oneLine makes a text fit for a comment: nothing in it can become a command.
func oneLine(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return ' '
		}
		return c
	}, s)
	return s[:min(len(s), 300)]
}

func give(w http.ResponseWriter, kind string, data []byte) {
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(data) //nolint:gosec // never HTML, and nosniff; the machine may be gone
}

// file answers with a file below a one-time URL.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	token, name := r.PathValue("token"), r.PathValue("file")
	record, err := s.record(r.Context(), token)
	answer, isScript := scripts[name]
	switch {
	case err != nil && isScript:
		s.local(w, r, "", failed(err))
		return
	case err != nil:
		s.refuse(w, failed(err))
		return
	case isScript:
		// Only the script that the record asks for: an agent's record never gives an installer.
		if now, why := record.Answer(s.o.Clock()); now != answer {
			if why == "" {
				why = "the record is for another script: " + string(now)
			}
			s.local(w, r, "", &fault.Error{Message: why})
			return
		}
		s.boot(w, r, record, token, "")
		return
	}
	f, err := s.render(record, token, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.NotFound(w, r)
		return
	case err != nil:
		s.refuse(w, failed(err))
		return
	}
	if slices.Contains(answers, name) && r.Method == http.MethodGet {
		s.note(r.Context(), record, token, operation.StageFetched, "file="+name+"\n", from(r))
	}
	give(w, f.Type, f.Data)
}

// refuse answers with a failure that people at a console can read. What is inside of us stays there.
func (s *Server) refuse(w http.ResponseWriter, f *fault.Error) {
	code := status(f)
	if code == http.StatusInternalServerError {
		s.o.Log.Error("a booting machine could not be answered", "error", f)
		f = &fault.Error{Code: fault.Internal, Message: "the boot service failed; its log says why"}
	}
	if code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	http.Error(w, string(f.Code)+": "+oneLine(f.Message), code)
}

// stage takes what a machine reports.
func (s *Server) stage(w http.ResponseWriter, r *http.Request) {
	token, stage := r.PathValue("token"), r.PathValue("stage")
	if !slices.Contains(templates.Stages(), templates.Stage(stage)) {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, operation.MaxStageBody))
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		http.Error(w, "the report is too long", http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "the report broke off", http.StatusBadRequest)
		return
	}
	heard, err := s.o.API.BootEvent(r.Context(), operation.SumBootToken(token), stage, body, from(r))
	if err != nil {
		f := failed(err)
		s.o.Log.Warn("a report was not taken", "stage", stage, "from", from(r), "code", string(f.Code), "why", f.Message)
		s.refuse(w, f)
		return
	}
	s.cache.forgetToken(operation.SumBootToken(token))
	s.o.Log.Info("a machine reported", "stage", stage, "from", from(r), "sequence", heard.Sequence, "repeated", heard.Repeated)
	give(w, script, []byte("ok\n"))
}
