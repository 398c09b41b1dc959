package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// getRun answers one machine's part of an operation with everything that proves it: writes, evidence
// and attempts, however many machines the operation has.
func (s *Server) getRun(w http.ResponseWriter, c *call) error {
	d, err := s.operationOf(c)
	if err != nil {
		return err
	}
	i, f := runOf(d, c.PathValue("asset"))
	if f != nil {
		return f
	}
	run, err := s.o.Store.GetRun(c.Context(), d.ID, d.Runs[i].Asset.ID)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, run)
}

// getEvidence answers evidence that is too large for its run, of machines in the caller's sites.
func (s *Server) getEvidence(w http.ResponseWriter, c *call) error {
	sum, err := shaOf(c)
	if err != nil {
		return err
	}
	data, err := s.o.Store.EvidenceBlob(c.Context(), sum, c.caller.Sites)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", `"`+sum+`"`)
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("write evidence: %w", err)
	}
	return nil
}

// listAudit answers rows of the audit log. It tells of all sites, so a caller of some sees none of it.
func (s *Server) listAudit(w http.ResponseWriter, c *call) error {
	if len(c.caller.Sites) > 0 {
		return fault.New(fault.Denied, "the audit log tells of all sites, and token %s covers some", c.caller.ID)
	}
	q := c.URL.Query()
	f := operation.AuditFilter{Actor: q.Get("actor")}
	var err error
	if text := q.Get("operation"); text != "" {
		if f.Operation, err = operation.ParseID(text); err != nil {
			return invalid("operation", text, "give an operation's ID")
		}
	}
	if text := q.Get("since"); text != "" {
		if f.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return invalid("since", text, "give a time such as 2026-03-01T12:00:00Z")
		}
	}
	if text := q.Get("after"); text != "" {
		f.Chain = true
		if f.After, err = strconv.ParseInt(text, 10, 64); err != nil || f.After < 0 {
			return invalid("after", text, "give the seq of a row")
		}
	}
	if text := q.Get("limit"); text != "" {
		if f.Limit, err = strconv.Atoi(text); err != nil || f.Limit < 1 || f.Limit > 10000 {
			return invalid("limit", text, "use 1 to 10000")
		}
	}
	rows, err := s.o.Store.AuditLog(c.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, orEmpty(rows))
}
