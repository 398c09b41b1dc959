package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
)

var notice = operation.Notice{Kind: operation.NoticeWaiting, Operation: "op_1", Asset: asset.Ref{ID: 7, Name: "srv-7", Serial: "SN7"},
	Text: "srv-7 waits for a person", Page: "https://cagenut.example.net/operations/op_1", At: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)}

func TestSend(t *testing.T) {
	var got Body
	var header http.Header
	var sum string
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte("s3cret"))
		mac.Write(raw)
		sum, header = "sha256="+hex.EncodeToString(mac.Sum(nil)), r.Header
		if err := json.Unmarshal(raw, &got); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s of %s: %v", r.Method, raw, err)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer web.Close()
	hook := Webhook{URL: web.URL + "/room/token", Secret: "s3cret", Kinds: Kinds()}
	if err := New([]Webhook{hook}, "1.2").Send(t.Context(), hook.Name(), notice); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Body{Key: notice.Key(), Notice: notice}, got); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if header.Get(SignatureHeader) != sum || header.Get("Content-Type") != "application/json" || header.Get("User-Agent") != "cagenut/1.2" {
		t.Errorf("header %v, want signature %s", header, sum)
	}
}

func TestSendFails(t *testing.T) {
	followed := false
	mux := http.NewServeMux()
	mux.HandleFunc("/moved-token", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { followed = true })
	mux.HandleFunc("/down-token", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	mux.HandleFunc("/hangs-token", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server sees the client hang up only after that
		<-r.Context().Done()
	})
	web := httptest.NewServer(mux)
	defer web.Close()
	for path, want := range map[string]string{"/moved-token": "307", "/down-token": "502", "/hangs-token": "deadline"} {
		hook := Webhook{URL: web.URL + path, Secret: "k"}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if path == "/hangs-token" {
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		err := New([]Webhook{hook}, "1").Send(ctx, hook.Name(), notice)
		cancel()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "token") {
			t.Errorf("%s: %v, want an error with %q and without the URL's path", path, err, want)
		}
	}
	if followed {
		t.Error("a redirect was followed")
	}
	gone := Webhook{URL: "http://127.0.0.1:1/token", Secret: "k"}
	if err := New([]Webhook{gone}, "1").Send(t.Context(), gone.Name(), notice); err == nil || strings.Contains(err.Error(), "token") {
		t.Errorf("nobody listens: %v, want an error without the URL's path", err)
	}
	if err := New(nil, "1").Send(t.Context(), gone.Name(), notice); !errors.Is(err, ErrUnknown) {
		t.Errorf("a webhook of before: %v", err)
	}
}
