package bmc_test

import (
	"testing"

	"github.com/cagenut/cagenut/bmc"
)

func TestSyslogAddress(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"192.0.2.5":             "192.0.2.5:514",
		"192.0.2.5:514":         "192.0.2.5:514",
		"192.0.2.5:0514":        "192.0.2.5:514",
		"LOG.example.net":       "log.example.net:514",
		"log.example.net.:1514": "log.example.net:1514",
		"2001:DB8:0::5":         "[2001:db8::5]:514",
		"[2001:db8::5]":         "[2001:db8::5]:514",
		"[2001:db8:0:0::5]:99":  "[2001:db8::5]:99",
		"log:":                  "log:514",
		"a:b:c":                 "a:b:c",
	} {
		if got := bmc.SyslogAddress(in); got != want {
			t.Errorf("SyslogAddress(%q) = %q, want %q", in, got, want)
		}
		if got := bmc.SyslogAddress(want); got != want {
			t.Errorf("SyslogAddress(%q) = %q: not stable", want, got)
		}
	}
}

func TestSameAddresses(t *testing.T) {
	for _, tt := range []struct {
		a, b []string
		want bool
	}{
		{nil, nil, true},
		{[]string{"192.0.2.1"}, nil, false},
		{[]string{"2001:db8:0:0::1", "NS.example"}, []string{"2001:DB8::1", "ns.example."}, true},
		{[]string{"::ffff:192.0.2.1"}, []string{"192.0.2.1"}, true},
		{[]string{"192.0.2.1", "192.0.2.2"}, []string{"192.0.2.2", "192.0.2.1"}, false},
	} {
		if got := bmc.SameAddresses(tt.a, tt.b); got != tt.want {
			t.Errorf("SameAddresses(%v, %v) = %v", tt.a, tt.b, got)
		}
	}
}
