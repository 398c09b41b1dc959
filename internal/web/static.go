package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/cagenut/cagenut/internal/fault"
)

//go:embed static
var staticFiles embed.FS

//go:embed templates
var templateFiles embed.FS

// assets are the embedded files by the name under which they are served, which carries their hash:
// a browser keeps them for good, and asks for new ones when the program is new.
type assets struct {
	byName map[string]file
	urls   map[string]string // from the file's own name
}

type file struct {
	body []byte
	kind string
}

func readAssets() (assets, error) {
	a := assets{byName: map[string]file{}, urls: map[string]string{}}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		return a, err
	}
	for _, e := range entries {
		body, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			return a, err
		}
		ext := path.Ext(e.Name())
		kind, ok := kinds[ext]
		if !ok {
			return a, fmt.Errorf("web: static/%s: no content type for %q", e.Name(), ext)
		}
		sum := sha256.Sum256(body)
		name := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		a.byName[name], a.urls[e.Name()] = file{body, kind}, "/static/"+name
	}
	return a, nil
}

// static serves an embedded file.
func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	f, ok := s.assets.byName[r.PathValue("name")]
	if !ok {
		s.page(route{path: "/static/{name}", handle: func(c *call) (*page, error) {
			return nil, fault.New(fault.NotFound, "there is no file %s", c.URL.Path)
		}})(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Type", f.kind)
	if _, err := w.Write(f.body); err != nil {
		s.o.Log.DebugContext(r.Context(), "file not delivered", "path", r.URL.Path, "error", err)
	}
}
