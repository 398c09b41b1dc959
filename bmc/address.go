package bmc

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// defaultSyslogPort is that of syslog over UDP (RFC 5426).
const defaultSyslogPort = "514"

// SyslogAddress gives a syslog server in the one form in which ManagerSettings have it: host:port in
// small letters, IP addresses as RFC 5952 writes them. It takes host or host:port, IPv6 addresses also
// with a port and brackets. "" and what is none of these stay as they are.
func SyslogAddress(s string) string {
	if s == "" {
		return ""
	}
	host, port := s, defaultSyslogPort
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		host = strings.Trim(s, "[]")
	} else if h, p, err := net.SplitHostPort(s); err == nil {
		host = h
		if p != "" {
			port = p
		}
	} else if strings.Contains(s, ":") {
		return s
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		port = strconv.FormatUint(n, 10)
	}
	return net.JoinHostPort(normalHost(host), port)
}

// SameAddresses compares lists of hosts: addresses by what they are, names without regard to letter
// case, in their order, which is the order of preference.
func SameAddresses(a, b []string) bool {
	return slices.EqualFunc(a, b, func(x, y string) bool { return normalHost(x) == normalHost(y) })
}

func normalHost(s string) string {
	s = strings.TrimSpace(s)
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(s, "."))
}
