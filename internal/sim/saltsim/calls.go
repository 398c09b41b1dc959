package saltsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/sim"
)

// object is a JSON object.
type object = map[string]any

// call makes one call. An error is what the real one answers with HTTP 500.
func (s *Server) call(l low, name string) (any, error) {
	switch l.Client + " " + l.Fun {
	case "local_async state.apply":
		return s.publish(l, name)
	case "local test.ping":
		return s.ask(l, func(string) (any, error) { return true, nil })
	case "local saltutil.find_job":
		return s.ask(l, s.findJob(l))
	case "local saltutil.term_job", "local saltutil.kill_job":
		return s.ask(l, s.endJob(l))
	case "local file.read", "local service.status", "local mount.active", "local disk.usage",
		"local network.interfaces", "local network.ping", "local status.time":
		return s.ask(l, s.tell(l))
	case "runner jobs.list_job":
		return s.listJob(l.JID), nil
	case "wheel key.print", "wheel key.accept_dict", "wheel key.delete", "wheel key.list_all":
		v, err := s.wheel(l)
		s.last++
		tag := fmt.Sprintf("salt/wheel/%020d", s.last)
		return object{"tag": tag, "data": object{"fun": "wheel." + l.Fun, "tag": tag, "user": s.o.User, "return": v, "success": true}}, err
	}
	return nil, fmt.Errorf("no such function: %s %s", l.Client, l.Fun)
}

func (s *Server) wheel(l low) (any, error) {
	var id string
	_ = json.Unmarshal(l.Match, &id) // accept_dict has another form
	switch l.Fun {
	case "key.list_all":
		out := object{}
		for list := range s.keys {
			out[list] = []string{}
			for k := range s.keys[list] {
				out[list] = append(out[list].([]string), k)
			}
		}
		return out, nil
	case "key.print":
		out := object{}
		for list, keys := range s.keys {
			if pem, ok := keys[id]; ok {
				out[list] = object{id: pem}
			}
		}
		return out, nil
	case "key.delete":
		return object{}, s.do(event{Kind: "delete", Minion: id})
	}
	var match map[string][]string
	if err := json.Unmarshal(l.Match, &match); err != nil {
		return nil, err
	}
	for _, id := range match[pending] {
		if s.keys[pending][id] == "" {
			return "\nPassed invalid arguments: 'NoneType' object is not subscriptable\n\nUsage:\n\n    Accept keys based on a dict of keys.", nil
		}
	}
	for _, id := range match[pending] {
		if err := s.do(event{Kind: "accept", Minion: id}); err != nil {
			return nil, err
		}
	}
	return object{accepted: match[pending]}, nil
}

// hears tells whether a minion gets what the master sends to it.
func (s *Server) hears(id string) bool {
	m := s.minions[id]
	return m != nil && m.Up && s.keys[accepted][id] == m.Key
}

// ask puts a question to minions and waits for their answers.
func (s *Server) ask(l low, answer func(id string) (any, error)) (any, error) {
	out := object{}
	for _, id := range l.targets() {
		if s.keys[accepted][id] == "" {
			continue // nobody of that name: not a word about it
		}
		if !s.hears(id) {
			out[id] = "Minion did not return. [No response]"
			if l.FullReturn {
				out[id] = object{"out": "no_return", "ret": "Minion did not return. [No response]", "retcode": 1}
			}
			continue
		}
		v, err := answer(id)
		if err != nil {
			return nil, err
		}
		c, ok := v.(coded)
		if !ok {
			c = coded{v, 0}
		}
		out[id] = c.answer
		if l.FullReturn {
			s.last++
			out[id] = object{"ret": c.answer, "retcode": c.code, "jid": fmt.Sprintf("%020d", s.last)}
		}
	}
	return out, nil
}

func (s *Server) findJob(l low) func(string) (any, error) {
	return func(id string) (any, error) {
		j := s.jobs[argument(l)]
		if j == nil || j.Minion != id || !j.works(s.o.Clock()) {
			return object{}, nil
		}
		return object{"pid": 4711, "fun": "state.apply", "jid": j.ID, "tgt": []string{id}, "tgt_type": "list"}, nil
	}
}

func (s *Server) endJob(l low) func(string) (any, error) {
	return func(id string) (any, error) {
		j := s.jobs[argument(l)]
		if j == nil || j.Minion != id || !j.works(s.o.Clock()) {
			return "", nil
		}
		return "Signal 15 sent to job " + j.ID + " at pid 4711", s.do(event{Kind: "kill", Minion: id, Job: &job{ID: j.ID}})
	}
}

func argument(l low) string {
	if len(l.Arg) == 0 {
		return ""
	}
	return fmt.Sprint(l.Arg[0])
}

func (s *Server) listJob(id string) any {
	out := object{"jid": id, "Result": object{}}
	j := s.jobs[id]
	if j == nil {
		out["Error"] = "Cannot contact returner or no job with this jid"
		return out
	}
	out["Function"], out["Arguments"], out["Target"], out["Target-type"] = "state.apply", []any{j.Args}, []string{j.Minion}, "list"
	out["User"], out["Minions"] = s.o.User, []string{j.Minion}
	if len(j.Meta) > 0 {
		out["Metadata"] = j.Meta
	}
	if j.done(s.o.Clock()) {
		out["Result"] = object{j.Minion: object{"return": j.Result, "retcode": j.Retcode, "success": j.Retcode == 0, "out": "highstate"}}
	}
	return out
}

// publish sends a state run to minions.
func (s *Server) publish(l low, name string) (any, error) {
	known := []string{}
	for _, id := range l.targets() {
		if s.keys[accepted][id] != "" {
			known = append(known, id)
		}
	}
	if len(known) == 0 {
		return object{}, nil
	}
	if len(known) > 1 {
		return nil, fmt.Errorf("the box runs a job on one minion")
	}
	if l.JID == "" {
		s.last++
		l.JID = fmt.Sprintf("20260101%012d", s.last)
	}
	if err := s.start(l, known[0], name); err != nil {
		return nil, err
	}
	return object{"jid": l.JID, "minions": known}, nil
}

// start makes the job, and settles how it will end.
func (s *Server) start(l low, id, name string) error {
	m := s.minions[id]
	if old := s.jobs[l.JID]; old != nil && (m == nil || m.seen[l.JID]) {
		return nil // published again; the minion drops a job that it had
	}
	l.Kwarg.WithKind = true
	args, err := json.Marshal(l.Kwarg)
	if err != nil {
		return err
	}
	now := s.o.Clock()
	e := event{Kind: "job", Minion: id, Job: &job{ID: l.JID, Minion: id, Args: args, Meta: l.Metadata, Due: now}}
	faults := s.faults.Take(sim.Salt, http.MethodPost, name, sim.Minion)
	var result any
	switch running := s.running(id); {
	case !s.hears(id), len(faults) > 0 && faults[0].Action == sim.ActMinionLost:
		e.Job.Gone = true
	case len(faults) > 0 && faults[0].Action == sim.ActMinionHolds:
		result, e.Job.Retcode = s.states(m, l.Kwarg, &e)
		e.Job.Hold = true
	case len(faults) > 0:
		result, e.Job.Retcode = json.RawMessage(faults[0].Body), faults[0].Status
	case running != "":
		result, e.Job.Retcode = []string{fmt.Sprintf(`The function "state.apply" is running as PID 4711 and was started at 2026, Jan 01 00:00:00.000000 with jid %s`, running)}, 1
	default:
		result, e.Job.Retcode = s.states(m, l.Kwarg, &e)
	}
	if e.Job.Result, err = json.Marshal(result); err != nil {
		return err
	}
	return s.do(e)
}

// running gives the job that a minion works on.
func (s *Server) running(id string) string {
	for _, j := range s.jobs {
		if j.Minion == id && j.works(s.o.Clock()) {
			return j.ID
		}
	}
	return ""
}

// states runs SLS files: it gives what the minion returns, and its code.
func (s *Server) states(m *Minion, k kwarg, e *event) (any, int) {
	mods := k.Mods
	if len(mods) == 0 {
		if mods = s.o.Top; len(mods) == 0 {
			return object{"no_|-states_|-states_|-None": object{"result": false, "comment": "No Top file or master_tops data matches found.", "name": "No States", "changes": object{}, "__run_num__": 0}}, 2
		}
	}
	for _, n := range mods {
		f, ok := s.o.Files[n]
		if !ok {
			return []string{fmt.Sprintf("No matching sls found for '%s' in env 'base'", n)}, 1
		}
		if f.Render != "" {
			return []string{fmt.Sprintf("Rendering SLS 'base:%s' failed: %s", n, f.Render)}, 1
		}
	}
	e.Ran = true
	out, code, well := object{}, 0, map[string]bool{}
	for _, n := range mods {
		f := s.o.Files[n]
		e.Job.Due = e.Job.Due.Add(f.Takes)
		e.Job.Hold = e.Job.Hold || f.Hold && !m.Free
		for _, st := range ordered(f.States) {
			r := object{"name": st.named(), "changes": object{}, "result": true, "comment": "The state is as asked", "__sls__": n, "__id__": st.ID, "__run_num__": len(out), "duration": 1.5}
			where := n + "/" + st.ID
			switch {
			case st.Needs != "" && !well[st.Needs]:
				r["result"], r["comment"], r["__state_ran__"], code = false, "One or more requisite failed: "+n+"."+st.Needs, false, 2
			case st.Fail != "":
				r["result"], r["comment"], code = false, st.Fail, 2
			case st.Always && !k.Test:
				r["changes"], r["comment"] = object{"new": st.named()}, "The state was changed"
				e.Marks = append(e.Marks, where)
			case (st.Always || st.Changes && !m.Applied[where]) && k.Test:
				r["result"], r["changes"], r["comment"] = nil, object{"new": st.named()}, "The state is set to be changed"
			case st.Changes && !m.Applied[where]:
				r["changes"], r["comment"] = object{"new": st.named()}, "The state was changed"
				e.Applied = append(e.Applied, where)
			}
			well[st.ID] = r["result"] == nil || r["result"] == true
			out[strings.Join([]string{st.Module, st.ID, st.named(), st.Func}, "_|-")] = r
		}
	}
	return out, code
}

func (s State) named() string {
	if s.Name != "" {
		return s.Name
	}
	return s.ID
}

// ordered puts each state behind the one that it needs.
func ordered(states []State) []State {
	var out []State
	left := slices.Clone(states)
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(s State) bool {
			return s.Needs == "" || slices.ContainsFunc(out, func(o State) bool { return o.ID == s.Needs })
		})
		i = max(i, 0) // a circle: the real one does not compile; nobody here writes one
		out = append(out, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return out
}
