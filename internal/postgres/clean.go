package postgres

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// PostgreSQL's text and jsonb hold no NUL and no broken UTF-8; BMCs send both. What they send is
// evidence and must not stop the projection, so such characters become U+FFFD.

const replacement = "�"

// clean makes a string fit for a text column.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, replacement), "\x00", replacement)
}

// cleanJSON makes JSON fit for a jsonb column. JSON without escapes is returned as it is.
func cleanJSON(raw []byte) ([]byte, error) {
	if !json.Valid(raw) {
		return nil, fmt.Errorf("not valid JSON (%d bytes)", len(raw))
	}
	raw = bytes.ToValidUTF8(raw, []byte(replacement))
	if !bytes.Contains(raw, []byte(`\u`)) {
		return raw, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil { // Decode replaces lone surrogates
		return nil, fmt.Errorf("JSON: %w", err)
	}
	return json.Marshal(cleanValue(v))
}

func cleanValue(v any) any {
	switch v := v.(type) {
	case string:
		return clean(v)
	case []any:
		for i := range v {
			v[i] = cleanValue(v[i])
		}
	case map[string]any:
		for k, item := range v {
			delete(v, k)
			v[clean(k)] = cleanValue(item)
		}
	}
	return v
}
