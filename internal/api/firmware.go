package api

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

var fileNameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}$`)

func shaOf(c *call) (string, error) {
	sum := strings.ToLower(c.PathValue("sha256"))
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 {
		return "", invalid("sha256", c.PathValue("sha256"), "give the file's SHA-256, 64 hexadecimal digits")
	}
	return sum, nil
}

// addFirmware streams a file into the store. A file that is there already is success. A name that
// already means another file is refused: profiles go by name.
func (s *Server) addFirmware(w http.ResponseWriter, c *call) error {
	sum, err := shaOf(c)
	if err != nil {
		return err
	}
	name := c.URL.Query().Get("name")
	if !fileNameForm.MatchString(name) {
		return invalid("name", name, "give the file's own name without folders: letters, digits, dot, dash, underscore and plus")
	}
	known, err := s.o.Store.ListFirmware(c.Context())
	if err != nil {
		return err
	}
	for _, f := range known {
		if f.Name == name && f.SHA256 != sum {
			e := fault.New(fault.Conflict, "the name %s already means the file with SHA-256 %s", name, f.SHA256)
			e.Remedy = "rename the file, so that profiles by this name keep meaning the same bytes"
			return e
		}
	}
	size, err := s.o.Firmware.Add(c.Context(), c.Body, sum)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(known, func(f operation.FirmwareFile) bool { return f.SHA256 == sum && f.Name == name }); i >= 0 {
		return answer(w, http.StatusOK, known[i])
	}
	f := operation.FirmwareFile{SHA256: sum, Name: name, Size: size, Added: s.o.Clock().UTC(), By: c.caller.Person}
	if err := s.audit(c, "firmware.add", name, "", sum); err != nil {
		return err
	}
	if err := s.o.Store.SaveFirmware(c.Context(), f); err != nil {
		return err
	}
	return answer(w, http.StatusCreated, f)
}

func (s *Server) listFirmware(w http.ResponseWriter, c *call) error {
	list, err := s.o.Store.ListFirmware(c.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, orEmpty(list))
}

// getFirmware serves a file to a site's worker, with ranges, so that a cut download goes on.
func (s *Server) getFirmware(w http.ResponseWriter, c *call) error {
	sum, err := shaOf(c)
	if err != nil {
		return err
	}
	known, err := s.o.Store.ListFirmware(c.Context())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(known, func(f operation.FirmwareFile) bool { return f.SHA256 == sum })
	if i < 0 {
		return fault.New(fault.NotFound, "no firmware file has the SHA-256 %s; `cagenut firmware list` shows them", sum)
	}
	file, err := s.o.Firmware.Open(sum)
	if err != nil {
		return err
	}
	defer file.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", known[i].Name))
	w.Header().Set("ETag", `"`+sum+`"`)
	http.ServeContent(w, c.Request, "", known[i].Added, file)
	return nil
}

func (s *Server) verifyFirmware(w http.ResponseWriter, c *call) error {
	list, err := s.o.Store.ListFirmware(c.Context())
	if err != nil {
		return err
	}
	out := []wire.FirmwareCheck{}
	for _, f := range list {
		check := wire.FirmwareCheck{File: f}
		if err := s.o.Firmware.Verify(c.Context(), f.SHA256); err != nil {
			if c.Context().Err() != nil {
				return c.Context().Err()
			}
			check.Error = translate(err)
		}
		out = append(out, check)
	}
	return answer(w, http.StatusOK, out)
}

// removeFirmware takes a file out of the catalogue and then deletes it. Killed in between, the file is
// left over and nobody is served it; adding or removing it again tidies up. A file that the catalogue does
// not have is not found, as it was before, but it is deleted.
func (s *Server) removeFirmware(w http.ResponseWriter, c *call) error {
	sum, err := shaOf(c)
	if err != nil {
		return err
	}
	if err := s.audit(c, "firmware.remove", sum, "", ""); err != nil {
		return err
	}
	missing := s.o.Store.RemoveFirmware(c.Context(), sum)
	if missing != nil && translate(missing).Code != fault.NotFound {
		return missing
	}
	if err := s.o.Firmware.Remove(sum); err != nil {
		return err
	}
	if missing != nil {
		return missing
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
