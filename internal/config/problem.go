package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration or a profile.
type Problem struct {
	File   string `json:"file,omitempty"` // or the environment variable or flag that set it
	Line   int    `json:"line,omitempty"` // 0: unknown, or the key is not in the file
	Key    string `json:"key,omitempty"`
	Value  string `json:"value,omitempty"`
	Reason string `json:"reason,omitempty"`
	Remedy string `json:"remedy"`
}

// String gives the problem in one line, as compilers do.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key)
		if p.Value != "" {
			b.WriteString(" = " + p.Value)
		}
		b.WriteString(": ")
	}
	if p.Reason != "" {
		b.WriteString(p.Reason + ": ")
	}
	b.WriteString(p.Remedy)
	return b.String()
}

// Problems is the error of Load and LoadProfiles: everything that is wrong, in the order of files
// and lines.
type Problems []Problem

// Error gives one line a problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	return p
}
