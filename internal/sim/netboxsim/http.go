package netboxsim

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxBody bounds a request's body.
const maxBody = 32 << 20

// write sends the answer; cut: only half of its JSON, as from a server that crashed meanwhile.
func (a answer) write(w http.ResponseWriter, r *http.Request, cut bool) {
	if a.etag != "" {
		w.Header().Set("ETag", a.etag)
	}
	if a.page != "" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(a.status)
		_, _ = fmt.Fprintf(w, "<!DOCTYPE html>\n<html><head><title>%s | NetBox</title></head><body></body></html>\n", html.EscapeString(a.page))
		return
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	b, err := json.Marshal(a.body)
	if err != nil {
		http.Error(w, fmt.Sprintf("%s %s: %v", r.Method, r.URL.Path, err), http.StatusInternalServerError)
		return
	}
	if cut {
		b = b[:len(b)/2]
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(b) // the client is gone: nothing to do
}

// answer works on one request inside one transaction.
func (s *Server) answer(r *http.Request) answer {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/")
	if !ok || (path != "" && !strings.HasSuffix(path, "/")) {
		return answer{status: http.StatusNotFound, page: "Page Not Found"}
	}
	t := s.begin(nil)
	t.base = "http://" + r.Host
	if r.TLS != nil {
		t.base = "https://" + r.Host
	}
	token, refused := s.authenticate(t, r)
	if refused.status != 0 {
		return refused
	}
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	t.reads = token != nil && token.Data["write_enabled"] == false
	if !safe && t.reads {
		return denied()
	}
	a := s.route(t, r, path)
	if safe || a.status >= 400 {
		return a
	}
	if err := s.commit(t); err != nil {
		return answer{status: http.StatusInternalServerError, page: "Server Error"}
	}
	return a
}

func (s *Server) route(t *tx, r *http.Request, path string) answer {
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case path == "status/" && get:
		return answer{status: http.StatusOK, body: map[string]any{
			"django-version": "6.1.2", "hostname": "box", "installed_apps": map[string]any{}, "netbox-version": Version,
			"netbox-full-version": Version, "plugins": map[string]any{}, "python-version": "3.12.1", "rq-workers-running": 0}}
	case path == "authentication-check/" && get:
		return answer{status: http.StatusOK, body: t.show(t.user, nil, nil)}
	}
	// dcim/devices/, dcim/devices/7/, ipam/prefixes/7/available-ips/
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if len(parts) < 2 || len(parts) > 4 {
		return answer{status: http.StatusNotFound, page: "Page Not Found"}
	}
	k := t.kind(parts[0] + "/" + parts[1] + "/")
	if k == nil {
		return answer{status: http.StatusNotFound, page: "Page Not Found"}
	}
	if len(parts) == 2 {
		return t.collection(k, r)
	}
	id, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return answer{status: http.StatusNotFound, page: "Page Not Found"}
	}
	if len(parts) == 4 {
		if k.model != "ipam.prefix" || parts[3] != "available-ips" {
			return answer{status: http.StatusNotFound, page: "Page Not Found"}
		}
		return t.availableIPs(k, id, r)
	}
	return t.single(k, id, r)
}

// actions are the permissions that methods need.
var actions = map[string]string{http.MethodGet: "view", http.MethodHead: "view", http.MethodPost: "add", http.MethodPatch: "change", http.MethodDelete: "delete"}

// options tells what the user may write, as NetBox does: PUT stands for every change, and without any
// there is no key at all.
func (t *tx) options(k *kind) answer {
	if !t.may(k, "view") {
		return denied()
	}
	body, may := map[string]any{"name": k.model, "renders": []string{"application/json"}}, map[string]any{}
	for method, action := range map[string]string{http.MethodPut: "change", http.MethodPost: "add"} {
		if t.may(k, action) && !t.reads {
			may[method] = map[string]any{"id": map[string]any{"type": "integer", "read_only": true}}
		}
	}
	if len(may) > 0 {
		body["actions"] = may
	}
	return answer{status: http.StatusOK, body: body}
}

func (t *tx) collection(k *kind, r *http.Request) answer {
	if r.Method == http.MethodOptions {
		return t.options(k)
	}
	action, ok := actions[r.Method]
	if !ok || (k.model == "core.objectchange" && action != "view") {
		return refuse(http.StatusMethodNotAllowed, "Method %q not allowed.", r.Method)
	}
	if !t.may(k, action) {
		return denied()
	}
	if action == "view" {
		return t.list(k, r)
	}
	in, err := readBody(r)
	if err != nil {
		return refuse(http.StatusBadRequest, "JSON parse error - %v", err)
	}
	many, bulk := in.([]any)
	if !bulk {
		if action != "add" {
			return refuse(http.StatusBadRequest, "Expected a list of items but got type %q.", "dict")
		}
		many = []any{in}
	}
	return t.writeAll(k, action, many, bulk)
}

func readBody(r *http.Request) (any, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxBody {
		return nil, fmt.Errorf("more than %d bytes", maxBody)
	}
	var in any
	err = json.Unmarshal(b, &in)
	return in, err
}

func (t *tx) single(k *kind, id int64, r *http.Request) answer {
	action, ok := actions[r.Method]
	if !ok || action == "add" || (k.model == "core.objectchange" && action != "view") {
		return refuse(http.StatusMethodNotAllowed, "Method %q not allowed.", r.Method)
	}
	if !t.may(k, action) {
		return denied()
	}
	o := t.get(k.path, id)
	if o == nil || !t.covers(k, action, o) { // what a permission does not cover does not exist
		return refuse(http.StatusNotFound, "No %s matches the given query.", label(k.model[strings.IndexByte(k.model, '.')+1:]))
	}
	tagged := func(status int) answer {
		o := t.get(k.path, id)
		only, omit := selection(r.URL.Query())
		a := answer{status: status, body: t.show(o, only, omit)}
		if !k.undated {
			a.etag = etag(o)
		}
		return a
	}
	if action == "view" {
		return tagged(http.StatusOK)
	}
	if match := r.Header.Get("If-Match"); match != "" && match != "*" && !k.undated && !listed(match, etag(o)) {
		a := refuse(http.StatusPreconditionFailed, "Precondition failed.")
		a.etag = etag(o)
		return a
	}
	if action == "delete" {
		if a := t.delete(k, o, ""); a.status != 0 {
			return a
		}
		return answer{status: http.StatusNoContent}
	}
	in, err := readBody(r)
	body, isObject := in.(map[string]any)
	if err != nil || !isObject {
		return refuse(http.StatusBadRequest, "JSON parse error - %v", err)
	}
	if status, problems := t.update(k, o, body); problems != nil {
		return answer{status: status, body: problems}
	}
	return tagged(http.StatusOK)
}

func listed(header, tag string) bool {
	for _, s := range strings.Split(header, ",") {
		if strings.TrimSpace(s) == tag {
			return true
		}
	}
	return false
}
