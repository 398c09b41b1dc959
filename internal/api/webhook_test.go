package api_test

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/internal/api/apitest"
)

// What NetBox signs is kept; what anybody else sends, or NetBox of something else, is not.
func TestNetBoxHook(t *testing.T) {
	const device = `{"event":"updated","object_type":"dcim.device","data":{"id":101,"status":{"value":"active","label":"Active"}}}`
	sign := func(key, body string) string {
		mac := hmac.New(sha512.New, []byte(key))
		mac.Write([]byte(body))
		return hex.EncodeToString(mac.Sum(nil))
	}
	for name, tc := range map[string]struct {
		body, signature string
		status          int
		kept            bool
	}{
		"a device":               {device, sign(apitest.HookKey, device), 204, true},
		"a device, NetBox 4.4":   {strings.Replace(device, `"object_type":"dcim.device"`, `"model":"device"`, 1), "", 204, true},
		"another key":            {device, sign("x", device), 401, false},
		"no signature":           {device, "none", 401, false},
		"signature of something": {device, sign(apitest.HookKey, device+" "), 401, false},
		"an interface":           {strings.Replace(device, "dcim.device", "dcim.interface", 1), "", 204, false},
		"a deletion":             {strings.Replace(device, "updated", "deleted", 1), "", 204, false},
		"no JSON":                {"<html>", "", 422, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := apitest.Start(t, 1)
			if tc.signature == "" {
				tc.signature = sign(apitest.HookKey, tc.body)
			}
			req, err := http.NewRequest(http.MethodPost, a.URL+"/v1/netbox/webhook", strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Hook-Signature", tc.signature)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			histories, err := a.Store.InstallHistories(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if kept := histories[101].EverActive; res.StatusCode != tc.status || kept != tc.kept {
				t.Errorf("status %d, kept %v; want %d, %v", res.StatusCode, kept, tc.status, tc.kept)
			}
		})
	}
}
