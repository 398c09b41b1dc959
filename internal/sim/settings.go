package sim

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the BMC itself is set to: names, time, name servers, syslog. The same setting stands in
// different places on different flavours; the functions here are what the places have in common.

func (c *call) changed(what string) { c.m.effect(c.now, EffectSettings, what) }

func (c *call) setHostName(name string) {
	s := &c.m.st.Manager
	if s.HostName == name {
		return
	}
	s.HostName = name
	c.changed("hostname=" + name)
	if c.f.certFollowsName {
		c.m.renewCertificate(c.now, "hostname")
	}
}

func (c *call) setNTP(servers []string) {
	s := &c.m.st.Manager
	if !slices.Equal(s.NTP, servers) {
		s.NTP = servers
		c.changed("ntp=" + strings.Join(servers, ","))
	}
	c.syncClock()
}

func (c *call) setNTPOn(on bool) {
	s := &c.m.st.Manager
	if s.NTPOn != on {
		s.NTPOn = on
		c.changed("ntp-enabled=" + strconv.FormatBool(on))
	}
	c.syncClock()
}

// syncClock corrects the clock a while after a time server was named.
func (c *call) syncClock() {
	if s := c.m.st.Manager; s.NTPOn && len(s.NTP) > 0 {
		c.m.later(c.now, timeNTP, doNTP, "")
	}
}

func (c *call) setDNS(servers []string) {
	s := &c.m.st.Manager
	if !slices.Equal(s.DNS, servers) {
		s.DNS = servers
		c.changed("dns=" + strings.Join(servers, ","))
	}
}

func (c *call) setSyslog(host string, port int, on bool) {
	s := &c.m.st.Manager
	if s.Syslog != host || s.Port != port || s.SyslogOn != on {
		s.Syslog, s.Port, s.SyslogOn = host, port, on
		c.changed("syslog=" + net.JoinHostPort(host, strconv.Itoa(port)) + " " + strconv.FormatBool(on))
	}
}

// clock is the BMC's time in its own offset.
func (c *call) clock() string { return c.m.bmcTime(c.now) }

func (m *Machine) bmcTime(t time.Time) string {
	s := m.st.Manager
	t = t.Add(s.Skew)
	if at, err := time.Parse("-07:00", s.Offset); err == nil {
		_, seconds := at.Zone()
		return t.In(time.FixedZone("", seconds)).Format("2006-01-02T15:04:05-07:00")
	}
	return t.UTC().Format("2006-01-02T15:04:05-07:00")
}

func (c *call) clockSetters() map[string]setter {
	return map[string]setter{
		"DateTime": func(v any) (func(), *answer) {
			s, _ := v.(string)
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return nil, badValue("DateTime", v, "use RFC 3339")
			}
			return func() { c.m.st.Manager.Skew = t.Sub(c.now); c.changed("clock") }, nil
		},
		"DateTimeLocalOffset": func(v any) (func(), *answer) {
			s, _ := v.(string)
			if _, err := time.Parse("-07:00", s); err != nil {
				return nil, badValue("DateTimeLocalOffset", v, "use +hh:mm")
			}
			return func() { c.m.st.Manager.Offset = s; c.changed("offset=" + s) }, nil
		},
	}
}

func patchManager(c *call) *answer { return patch(c, c.clockSetters()) }

// patchProtocol is PATCH of ManagerNetworkProtocol.
func patchProtocol(c *call) *answer {
	set := map[string]setter{"HostName": hostNameSetter(c)}
	if c.f.ntpInProtocol {
		set["NTP"] = nested("NTP", map[string]setter{
			"NTPServers":      listSetter("NTP/NTPServers", 4, c.setNTP),
			"ProtocolEnabled": boolSetter("NTP/ProtocolEnabled", c.setNTPOn),
		})
	}
	if c.f.syslog == syslogHPE {
		s := c.m.st.Manager
		host, port, on := s.Syslog, s.Port, s.SyslogOn
		hpe := nested("Oem/Hpe", map[string]setter{
			"RemoteSyslogServer":  textSetter("RemoteSyslogServer", 127, func(v string) { host = v; c.setSyslog(host, port, on) }),
			"RemoteSyslogPort":    numberSetter("RemoteSyslogPort", 1, 65535, func(v int) { port = v; c.setSyslog(host, port, on) }),
			"RemoteSyslogEnabled": boolSetter("RemoteSyslogEnabled", func(v bool) { on = v; c.setSyslog(host, port, on) }),
		})
		set["Oem"] = nested("Oem", map[string]setter{"Hpe": hpe})
	}
	return patch(c, set)
}

func hostNameSetter(c *call) setter {
	return func(v any) (func(), *answer) {
		s, _ := v.(string)
		if s == "" || len(s) > 63 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return nil, badValue("HostName", v, "use 1 to 63 letters, digits and dashes")
		}
		return func() { c.setHostName(s) }, nil
	}
}

// patchManagerNIC is PATCH of the BMC's EthernetInterface.
func patchManagerNIC(c *call) *answer {
	return patch(c, map[string]setter{
		"HostName":          hostNameSetter(c),
		"StaticNameServers": listSetter("StaticNameServers", 4, c.setDNS),
	})
}

// patchHPEDateTime is iLO's resource for time.
func patchHPEDateTime(c *call) *answer {
	set := c.clockSetters()
	set["StaticNTPServers"] = listSetter("StaticNTPServers", 2, func(v []string) {
		v = slices.DeleteFunc(v, func(s string) bool { return s == "0.0.0.0" })
		c.m.st.Manager.NTPOn = len(v) > 0
		c.setNTP(v)
	})
	return patch(c, set)
}

// dellAttributes are iDRAC's flat attributes, as far as the box has them.
func dellAttributes(c *call) obj {
	s := c.m.st.Manager
	nth := func(list []string, n int) string {
		if n < len(list) {
			return list[n]
		}
		return ""
	}
	onOff := map[bool]string{true: "Enabled", false: "Disabled"}
	return obj{
		"NIC.1.DNSRacName":                          s.HostName,
		"NTPConfigGroup.1.NTPEnable":                onOff[s.NTPOn],
		"NTPConfigGroup.1.NTP1":                     nth(s.NTP, 0),
		"NTPConfigGroup.1.NTP2":                     nth(s.NTP, 1),
		"NTPConfigGroup.1.NTP3":                     nth(s.NTP, 2),
		"IPv4Static.1.DNS1":                         nth(s.DNS, 0),
		"IPv4Static.1.DNS2":                         nth(s.DNS, 1),
		"SysLog.1.SysLogEnable":                     onOff[s.SyslogOn],
		"SysLog.1.Server1":                          s.Syslog,
		"SysLog.1.Port":                             s.Port,
		"Time.1.Timezone":                           "UTC",
		"Info.1.Version":                            c.m.st.Firmware[ComponentBMC],
		"CurrentIPv4.1.Address":                     c.m.spec.Addr.String(),
		"CurrentNIC.1.MACAddress":                   c.m.spec.MACs[0],
		"Lockdown.1.SystemLockdown":                 "Disabled",
		"RedfishEventing.1.IgnoreCertificateErrors": "Yes",
	}
}

func patchDellAttributes(c *call) *answer {
	s := c.m.st.Manager
	ntp := slices.Concat(s.NTP, []string{"", "", ""})[:3]
	dns := slices.Concat(s.DNS, []string{"", ""})[:2]
	host, port, on := s.Syslog, s.Port, s.SyslogOn
	put := func(list []string, n int, then func([]string)) func(string) {
		return func(v string) {
			list[n] = v
			then(slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" }))
		}
	}
	enabled := []string{"Enabled", "Disabled"}
	return patch(c, map[string]setter{"Attributes": nested("Attributes", map[string]setter{
		"NIC.1.DNSRacName":           hostNameSetter(c),
		"NTPConfigGroup.1.NTPEnable": oneOfSetter("NTPConfigGroup.1.NTPEnable", enabled, func(v string) { c.setNTPOn(v == "Enabled") }),
		"NTPConfigGroup.1.NTP1":      textSetter("NTPConfigGroup.1.NTP1", 255, put(ntp, 0, c.setNTP)),
		"NTPConfigGroup.1.NTP2":      textSetter("NTPConfigGroup.1.NTP2", 255, put(ntp, 1, c.setNTP)),
		"NTPConfigGroup.1.NTP3":      textSetter("NTPConfigGroup.1.NTP3", 255, put(ntp, 2, c.setNTP)),
		"IPv4Static.1.DNS1":          textSetter("IPv4Static.1.DNS1", 45, put(dns, 0, c.setDNS)),
		"IPv4Static.1.DNS2":          textSetter("IPv4Static.1.DNS2", 45, put(dns, 1, c.setDNS)),
		"SysLog.1.SysLogEnable": oneOfSetter("SysLog.1.SysLogEnable", enabled, func(v string) {
			on = v == "Enabled"
			c.setSyslog(host, port, on)
		}),
		"SysLog.1.Server1": textSetter("SysLog.1.Server1", 255, func(v string) { host = v; c.setSyslog(host, port, on) }),
		"SysLog.1.Port":    numberSetter("SysLog.1.Port", 1, 65535, func(v int) { port = v; c.setSyslog(host, port, on) }),
	})})
}

// patchSupermicroSyslog is X13's resource for syslog.
func patchSupermicroSyslog(c *call) *answer {
	s := c.m.st.Manager
	host, port, on := s.Syslog, s.Port, s.SyslogOn
	return patch(c, map[string]setter{
		"EnableSyslog":     boolSetter("EnableSyslog", func(v bool) { on = v; c.setSyslog(host, port, on) }),
		"SyslogServer":     textSetter("SyslogServer", 127, func(v string) { host = v; c.setSyslog(host, port, on) }),
		"SyslogPortNumber": numberSetter("SyslogPortNumber", 1, 65535, func(v int) { port = v; c.setSyslog(host, port, on) }),
	})
}

const destinationsPath = "/redfish/v1/EventService/Subscriptions"

// subscribe is POST of the event destinations; a destination of type Syslog is DMTF's way to send
// the log to a syslog server (EventDestination, SubscriptionType).
func subscribe(c *call) *answer {
	target, _ := c.body["Destination"].(string)
	protocol, _ := c.body["Protocol"].(string)
	kind, _ := c.body["SubscriptionType"].(string)
	context, _ := c.body["Context"].(string)
	u, err := url.Parse(target)
	syslog := kind == "Syslog"
	switch {
	case target == "" || err != nil || u.Host == "":
		return badValue("Destination", target, "it must be a URI")
	case syslog && c.f.syslog != syslogDestination:
		return badValue("SubscriptionType", kind, "use RedfishEvent")
	case syslog && !slices.Contains([]string{"SyslogUDP", "SyslogTCP", "SyslogTLS"}, protocol):
		return badValue("Protocol", protocol, "use SyslogUDP, SyslogTCP or SyslogTLS")
	case !syslog && (kind != "RedfishEvent" || protocol != "Redfish"):
		return badValue("SubscriptionType", kind, "use RedfishEvent with protocol Redfish, or Syslog")
	}
	st := &c.m.st
	d := destination{ID: strconv.Itoa(st.next()), URL: target, Context: context, Protocol: protocol, Kind: kind}
	st.Destinations = append(st.Destinations, d)
	c.changed("destination=" + u.Host)
	c.syslogFromDestinations()
	return c.created(destinationsPath, d.ID, getDestination)
}

func (c *call) syslogFromDestinations() {
	s := &c.m.st.Manager
	s.Syslog, s.SyslogOn = "", false
	for _, d := range c.m.st.Destinations {
		if u, err := url.Parse(d.URL); err == nil && d.Kind == "Syslog" {
			s.Syslog, s.SyslogOn, s.Port = u.Hostname(), true, 514
			if port, err := strconv.Atoi(u.Port()); err == nil {
				s.Port = port
			}
		}
	}
}

func getDestination(c *call) obj {
	for _, d := range c.m.st.Destinations {
		if d.ID != c.id {
			continue
		}
		r := resource(c.path, "EventDestination.v1_13_0.EventDestination", d.ID, "Event destination")
		r["Destination"], r["Protocol"], r["SubscriptionType"], r["Context"] = d.URL, d.Protocol, d.Kind, d.Context
		r["Status"] = obj{"State": "Enabled", "Health": "OK"}
		return r
	}
	return nil
}

func unsubscribe(c *call) *answer {
	st := &c.m.st
	st.Destinations = slices.DeleteFunc(st.Destinations, func(d destination) bool { return d.ID == c.id })
	c.changed("destination removed")
	if c.f.syslog == syslogDestination {
		c.syslogFromDestinations()
	}
	return noContent()
}
