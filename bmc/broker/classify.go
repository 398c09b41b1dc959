package broker

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/cagenut/cagenut/bmc"
)

const maxDetail = 512

// message is one of DSP0266's extended-info messages.
type message struct {
	ID   string   `json:"MessageId"`
	Text string   `json:"Message"`
	Args []string `json:"MessageArgs"`
}

// messages finds the extended info of an error body, or of a success body. What is not a Redfish
// message body gives none.
func messages(body []byte) []message {
	var b struct {
		Error struct {
			Code string          `json:"code"`
			Text string          `json:"message"`
			Info json.RawMessage `json:"@Message.ExtendedInfo"`
		} `json:"error"`
		Info json.RawMessage `json:"@Message.ExtendedInfo"`
	}
	if json.Unmarshal(body, &b) != nil {
		return nil
	}
	var out []message
	for _, raw := range []json.RawMessage{b.Error.Info, b.Info} {
		// An array by the standard; a lone object on some services. Args of other types than
		// string must not lose the message.
		var many []json.RawMessage
		if json.Unmarshal(raw, &many) != nil {
			many = []json.RawMessage{raw}
		}
		for _, one := range many {
			var m message
			if json.Unmarshal(one, &m) == nil || m.ID != "" {
				out = append(out, m)
			}
		}
	}
	if b.Error.Text != "" || b.Error.Code != "" {
		out = append(out, message{ID: b.Error.Code, Text: b.Error.Text})
	}
	return out
}

// has tells whether a message has the given key, whatever its registry and version: MessageId is
// "Base.1.18.PasswordChangeRequired".
func has(ms []message, key string) (message, bool) {
	for _, m := range ms {
		if m.ID == key || strings.HasSuffix(m.ID, "."+key) {
			return m, true
		}
	}
	return message{}, false
}

// classify names what a status other than 2xx means, with the BMC's own words.
func classify(status int, body []byte) (detail string, kind error) {
	ms := messages(body)
	return words(ms, body), kindOf(status, ms)
}

func kindOf(status int, ms []message) error {
	if _, ok := has(ms, "PasswordChangeRequired"); ok {
		return bmc.ErrPasswordChange
	}
	if _, ok := has(ms, "SessionLimitExceeded"); ok {
		return bmc.ErrBusy
	}
	switch status {
	case http.StatusUnauthorized:
		return bmc.ErrBadCredentials
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return bmc.ErrUnsupported
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return bmc.ErrBusy
	}
	if _, ok := has(ms, "ActionNotSupported"); ok {
		return bmc.ErrUnsupported
	}
	switch {
	case status >= 500:
		return bmc.ErrServer
	case status >= 400:
		return bmc.ErrRejected
	}
	return bmc.ErrMalformed
}

func words(ms []message, body []byte) string {
	var parts []string
	seen := map[string]bool{}
	for _, m := range ms {
		w := strings.TrimSpace(m.Text)
		if w == "" {
			w = m.ID
		}
		if w != "" && !seen[w] {
			seen[w] = true
			parts = append(parts, w)
		}
	}
	s := strings.Join(parts, "; ")
	if s == "" && len(body) > 0 && !json.Valid(body) {
		s = "the body is not JSON"
	}
	return bound(s, maxDetail)
}

// bound cuts a text at a rune's edge and takes line breaks out of it.
func bound(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// PathClass takes the identifiers out of a path, so that it can label a metric:
// /redfish/v1/Systems/437XR1138R2/Memory/DIMM1 becomes Systems/*/Memory/*.
func PathClass(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	var out []string
	depth := 0
	for s := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if s == "redfish" || s == "v1" || s == "" {
			continue
		}
		if depth++; depth > 8 {
			break
		}
		if !knownSegment(s) {
			s = "*"
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return "ServiceRoot"
	}
	return strings.Join(out, "/")
}

// knownSegment tells a segment of the schema from an identifier: only names in this list reach a
// metric, so the number of its series is bounded.
func knownSegment(s string) bool {
	switch s {
	case "Systems", "Chassis", "Managers", "SessionService", "Sessions", "AccountService", "Accounts", "Roles",
		"UpdateService", "FirmwareInventory", "SoftwareInventory", "TaskService", "Tasks", "TaskMonitors", "EventService",
		"Registries", "JsonSchemas", "Bios", "Settings", "Pending", "SecureBoot", "BootOptions",
		"Processors", "Memory", "Storage", "SimpleStorage", "Controllers", "Drives", "Volumes",
		"EthernetInterfaces", "NetworkInterfaces", "NetworkAdapters", "NetworkPorts", "Ports", "NetworkDeviceFunctions",
		"PCIeDevices", "PCIeFunctions", "PCIeSlots", "Power", "Thermal", "PowerSubsystem", "ThermalSubsystem",
		"PowerSupplies", "Fans", "ThermalMetrics", "Sensors", "Assembly", "LogServices", "Entries",
		"VirtualMedia", "NetworkProtocol", "HTTPS", "Certificates", "CertificateService", "Actions",
		"ComputerSystem.Reset", "Manager.Reset", "VirtualMedia.InsertMedia", "VirtualMedia.EjectMedia",
		"UpdateService.SimpleUpdate", "UpdateService.StartUpdate", "Oem", "LicenseService", "TelemetryService",
		"ComponentIntegrity", "Fabrics", "ReadyToRemove", "EnvironmentMetrics", "ProcessorMetrics", "MemoryMetrics":
		return true
	}
	return false
}
