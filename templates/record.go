package templates

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Record gives the machine as a boot record keeps it: without its one-time URL. The error is of type
// Problems when its files could not be rendered, so that this is known before anything boots.
func (m Machine) Record() (json.RawMessage, error) {
	m.Boot.Base = "http://boot.invalid/" + strings.Repeat("0", tokenLength)
	if problems := m.Validate(); len(problems) > 0 {
		return nil, Problems(problems)
	}
	m.Boot.Base = ""
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", m.Asset.Name, err)
	}
	return raw, nil
}

// FromRecord is the way back, completed with the one-time URL.
func FromRecord(raw json.RawMessage, base string) (Machine, error) {
	var m Machine
	if err := json.Unmarshal(raw, &m); err != nil {
		return Machine{}, fmt.Errorf("machine of a boot record: %w", err)
	}
	m.Boot.Base = base
	return m, nil
}
