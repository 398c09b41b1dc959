package web_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/web/webtest"
)

// listen opens a stream and gives its lines.
func (d *dashboard) listen(t *testing.T, query, lastID string) (lines <-chan string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL+"/live"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	out := make(chan string, 100)
	if res.StatusCode == http.StatusOK {
		go func() {
			defer close(out)
			for s := bufio.NewScanner(res.Body); s.Scan(); {
				out <- s.Text()
			}
		}()
	}
	return out, res.StatusCode
}

// changed waits for the next message and gives its ID and what it says.
func changed(t *testing.T, lines <-chan string) (id, data string) {
	t.Helper()
	for line := range lines {
		if v, ok := strings.CutPrefix(line, "id: "); ok {
			id = v
		}
		if v, ok := strings.CutPrefix(line, "data: "); ok {
			return id, v
		}
	}
	t.Fatal("the stream ended")
	return "", ""
}

func TestLiveTellsOfChanges(t *testing.T) {
	d := start(t)
	lines, _ := d.listen(t, "", "") // five events are there already and are not told
	if first := <-lines; first != ": alive" {
		t.Errorf("the stream begins with %q", first)
	}
	d.store.Happen(operation.Event{Operation: webtest.Accepting, Asset: 101})
	if id, _ := changed(t, lines); id != "6" {
		t.Errorf("message %s, want 6", id)
	}
	for range 3 {
		d.store.Happen(operation.Event{Operation: webtest.Earlier, Asset: 201})
	}
	for last := ""; last != "9"; { // one message or several, as the looks fall
		last, _ = changed(t, lines)
	}
}

func TestLiveGoesOnWhereItWas(t *testing.T) {
	d := start(t)
	for _, tt := range []struct{ query, last, id, data string }{
		{"", "3", "5", "2"},
		{"?after=2", "", "5", "3"},
		{"?after=1", "4", "5", "1"}, // the header is newer than the address
		{"?after=0&operation=" + op, "", "5", "5"},
		{"?after=0&operation=" + op + "&asset=102", "", "5", "2"}, // its own, and one about the whole operation
		{"?after=0&site=ams01", "", "5", "5"},
	} {
		lines, _ := d.listen(t, tt.query, tt.last)
		if id, data := changed(t, lines); id != tt.id || data != tt.data {
			t.Errorf("%s after %q: message %s with %s, want %s with %s", tt.query, tt.last, id, data, tt.id, tt.data)
		}
	}
}

func TestLiveRefusesWhatItCannotUnderstand(t *testing.T) {
	d := start(t)
	for _, query := range []string{"?after=x", "?after=-1", "?operation=x", "?operation=" + op + "&asset=x"} {
		if _, status := d.listen(t, query, ""); status != http.StatusBadRequest {
			t.Errorf("%s: HTTP %d, want 400", query, status)
		}
	}
	d.store.Break(fmt.Errorf("away"))
	if _, status := d.listen(t, "?after=0", ""); status != http.StatusServiceUnavailable {
		t.Errorf("without a store: HTTP %d, want 503", status)
	}
}

func TestLiveIsBounded(t *testing.T) {
	d := start(t)
	for i := range 64 {
		if _, status := d.listen(t, "", ""); status != http.StatusOK {
			t.Fatalf("stream %d: HTTP %d", i, status)
		}
	}
	if _, status := d.listen(t, "", ""); status != http.StatusServiceUnavailable {
		t.Errorf("stream 65: HTTP %d, want 503", status)
	}
}
