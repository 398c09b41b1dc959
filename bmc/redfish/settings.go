package redfish

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

// settingsView is all that ManagerSettings are spread over. Each part is nil where the BMC has none.
type settingsView struct {
	manager   object
	protocol  object // ManagerNetworkProtocol
	ethernet  object // the BMC's own EthernetInterface
	ntp       object // OEM resource with the NTP servers, by quirk
	syslog    object // OEM resource with the syslog server, by quirk
	subscribe string // where syslog EventDestinations are made, "" where the BMC takes none
	listeners []object
	place     *place
}

// ManagerSettings reads the BMC's own settings; unsupported names the JSON fields that it lacks.
func (c *Controller) ManagerSettings(ctx context.Context) (bmc.ManagerSettings, []string, error) {
	v, err := c.settingsView(ctx)
	if err != nil {
		return bmc.ManagerSettings{}, nil, err
	}
	s, unsupported := v.settings()
	return s, unsupported, nil
}

func (c *Controller) settingsView(ctx context.Context) (settingsView, error) {
	p, err := c.where(ctx)
	if err != nil {
		return settingsView{}, err
	}
	if p.manager == "" {
		return settingsView{}, c.unsupported("read the BMC's settings", "manager")
	}
	v := settingsView{place: p}
	if v.manager, err = c.get(ctx, p.manager); err != nil {
		return v, err
	}
	if v.protocol, err = c.optional(ctx, v.manager.link("NetworkProtocol")); err != nil {
		return v, err
	}
	interfaces, err := c.members(ctx, v.manager, "EthernetInterfaces")
	if err != nil && !gone(err) {
		return v, err
	}
	v.ethernet = ownInterface(interfaces)
	if q := p.control.NTP; q.Link != "" && !v.protocol.has("NTP") {
		if v.ntp, err = c.optional(ctx, v.manager.link(q.Link)); err != nil {
			return v, err
		}
		if !v.ntp.has(q.Servers) {
			v.ntp = nil
		}
	}
	return v, c.viewSyslog(ctx, &v)
}

func (c *Controller) viewSyslog(ctx context.Context, v *settingsView) error {
	if q := v.place.control.Syslog; q.Link != "" {
		link := v.manager.link(q.Link)
		for _, l := range v.manager.links(q.Link) {
			if strings.HasSuffix(l, "/"+q.Last) {
				link = l
			}
		}
		o, err := c.optional(ctx, link)
		if err != nil {
			return err
		}
		if o.has(q.Server) {
			v.syslog = o
			return nil
		}
	}
	if v.place.control.NoSyslogSubscription {
		return nil
	}
	// The standard's way: an event destination of the type Syslog (DSP0268 EventDestination 1.9).
	events, err := c.optional(ctx, v.place.root.link("EventService"))
	if err != nil {
		return err
	}
	v.subscribe = events.link("Subscriptions")
	all, err := c.members(ctx, events, "Subscriptions")
	if err != nil && !gone(err) {
		return err
	}
	for _, l := range all {
		if strings.HasPrefix(l.str("Protocol"), "Syslog") {
			v.listeners = append(v.listeners, l)
		}
	}
	return nil
}

// optional reads a resource that a BMC may not have: then it is nil.
func (c *Controller) optional(ctx context.Context, path string) (object, error) {
	if path == "" {
		return nil, nil
	}
	o, err := c.get(ctx, path)
	if gone(err) {
		return nil, nil
	}
	return o, err
}

// ownInterface chooses the interface by which the BMC is on the network, not the one to its host.
func ownInterface(all []object) object {
	var best object
	score := -1
	for _, e := range all {
		if enabled, known := e.boolean("InterfaceEnabled"); known && !enabled || e.link("Links", "HostInterface") != "" {
			continue
		}
		n := 0
		if e.str("LinkStatus") == "LinkUp" {
			n += 2
		}
		if len(servers(e.strs("NameServers")))+len(servers(e.strs("StaticNameServers"))) > 0 {
			n++
		}
		if e.str("HostName") != "" {
			n++
		}
		if n > score {
			best, score = e, n
		}
	}
	return best
}

// servers leaves out what BMCs fill their fixed slots with.
func servers(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" && s != "0.0.0.0" && s != "::" {
			out = append(out, s)
		}
	}
	return out
}

// settings reads them. Of several syslog servers one of ours is shown first.
func (v settingsView) settings() (s bmc.ManagerSettings, unsupported []string) {
	lacks := func(field string) { unsupported = append(unsupported, field) }

	if s.Hostname = firstNonEmpty(v.ethernet.str("HostName"), v.protocol.str("HostName")); s.Hostname == "" && v.hostnameAt() == nil {
		lacks("hostname")
	}
	switch {
	case v.protocol.has("NTP", "NTPServers") || v.protocol.has("NTP"):
		s.NTPServers = servers(v.protocol.strs("NTP", "NTPServers"))
		if on, known := v.protocol.boolean("NTP", "ProtocolEnabled"); known {
			s.NTPEnabled = &on
		} else {
			lacks("ntp_enabled")
		}
	case v.ntp != nil:
		s.NTPServers = servers(v.ntp.strs(v.place.control.NTP.Servers))
		lacks("ntp_enabled")
	default:
		lacks("ntp_servers")
		lacks("ntp_enabled")
	}
	switch {
	case v.ethernet.has("StaticNameServers"):
		s.DNSServers = servers(v.ethernet.strs("StaticNameServers"))
	case v.ethernet.has("NameServers"):
		s.DNSServers = servers(v.ethernet.strs("NameServers"))
	default:
		lacks("dns_servers")
	}
	switch {
	case v.syslog != nil:
		s.Syslog = v.oemSyslog()
	case v.subscribe != "":
		for _, l := range v.listeners {
			address := syslogAddress(l.str("Destination"))
			switch {
			case s.Syslog == "":
				s.Syslog = address
			case l.str("Context") == syslogContext:
				s.Syslog, s.AlsoSyslog = address, append(s.AlsoSyslog, s.Syslog)
			default:
				s.AlsoSyslog = append(s.AlsoSyslog, address)
			}
		}
	default:
		lacks("syslog")
	}
	if s.TimeZone = firstNonEmpty(v.manager.str("TimeZoneName"), v.manager.str("DateTimeLocalOffset")); s.TimeZone == "" {
		lacks("time_zone")
	}
	var err error
	if s.Clock, err = time.Parse(time.RFC3339, v.manager.str("DateTime")); err != nil {
		lacks("clock")
	}
	return s, unsupported
}

// hostnameAt is the resource whose HostName is the BMC's, nil when there is none.
func (v settingsView) hostnameAt() object {
	for _, o := range []object{v.ethernet, v.protocol} {
		if _, ok := o.at("HostName").(string); ok {
			return o
		}
	}
	return nil
}

func (v settingsView) oemSyslog() string {
	q := v.place.control.Syslog
	host := v.syslog.str(q.Server)
	if host == "" || q.Enabled != "" && v.syslog.at(q.Enabled) != q.On {
		return ""
	}
	if n, ok := v.syslog.integer(q.Port); ok {
		return bmc.SyslogAddress(net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(n)))
	}
	return bmc.SyslogAddress(host)
}

// syslogContext marks the subscriptions that we made.
const syslogContext = "cagenut"

func syslogAddress(destination string) string {
	if u, err := url.Parse(destination); err == nil && u.Host != "" {
		return bmc.SyslogAddress(u.Host)
	}
	return bmc.SyslogAddress(destination)
}

// SetManagerSettings writes the non-empty fields that differ. The effect may come later, because
// some BMCs restart their network or web server for it, and may even show another certificate:
// read ManagerSettings until they are what was asked for.
func (c *Controller) SetManagerSettings(ctx context.Context, want bmc.ManagerSettings) error {
	v, err := c.settingsView(ctx)
	if err != nil {
		return err
	}
	now, unsupported := v.settings()
	if missing := lacking(want, unsupported); len(missing) > 0 {
		return c.unsupported("set the BMC's settings", strings.Join(missing, ", "))
	}
	var w writes
	if len(want.NTPServers) > 0 && !bmc.SameAddresses(now.NTPServers, want.NTPServers) {
		if v.ntp != nil {
			w.set(v.ntp, v.place.control.NTP.Servers, want.NTPServers)
		} else {
			w.set(v.protocol, "NTP/NTPServers", want.NTPServers)
		}
	}
	if want.NTPEnabled != nil && now.NTPEnabled != nil && *now.NTPEnabled != *want.NTPEnabled {
		w.set(v.protocol, "NTP/ProtocolEnabled", *want.NTPEnabled)
	}
	if len(want.DNSServers) > 0 && !bmc.SameAddresses(now.DNSServers, want.DNSServers) {
		w.set(v.ethernet, "StaticNameServers", want.DNSServers)
	}
	if want.TimeZone != "" && want.TimeZone != now.TimeZone {
		property := "TimeZoneName"
		if strings.HasPrefix(want.TimeZone, "+") || strings.HasPrefix(want.TimeZone, "-") {
			property = "DateTimeLocalOffset"
		}
		w.set(v.manager, property, want.TimeZone)
	}
	if !want.Clock.IsZero() {
		// In the zone that the BMC is in: some refuse another.
		w.set(v.manager, "DateTime", c.clock.Now().In(now.Clock.Location()).Truncate(time.Second).Format("2006-01-02T15:04:05-07:00"))
	}
	if want.Syslog != "" && !now.SendsTo(want.Syslog) {
		if err := c.setSyslog(ctx, v, want.Syslog, &w); err != nil {
			return err
		}
	}
	// The host name comes last: it is what may cut the connection.
	if want.Hostname != "" && !strings.EqualFold(now.Hostname, want.Hostname) {
		w.set(v.hostnameAt(), "HostName", want.Hostname)
	}
	written := map[string]bool{}
	for _, one := range w {
		etag := one.at.etag()
		if written[one.at.id()] {
			etag = "" // our own write made it old
		}
		if err := c.change(ctx, one.at.id(), etag, one.body); err != nil {
			return err
		}
		written[one.at.id()] = true
	}
	return nil
}

func lacking(want bmc.ManagerSettings, unsupported []string) []string {
	asked := map[string]bool{
		"hostname": want.Hostname != "", "ntp_servers": len(want.NTPServers) > 0, "ntp_enabled": want.NTPEnabled != nil && *want.NTPEnabled,
		"dns_servers": len(want.DNSServers) > 0, "syslog": want.Syslog != "", "time_zone": want.TimeZone != "", "clock": !want.Clock.IsZero(),
	}
	var out []string
	for _, f := range unsupported {
		// A BMC without a switch for NTP uses its servers as soon as it has some.
		if asked[f] && (f != "ntp_enabled" || len(want.NTPServers) == 0) {
			out = append(out, f)
		}
	}
	return out
}

// write is the PATCH of one resource. Properties of the same resource go together, in one request,
// except where a BMC may restart in between: the host name stays alone.
type write struct {
	at   object
	body map[string]any
}

type writes []write

func (w *writes) set(at object, property string, value any) {
	if at == nil {
		return
	}
	for _, one := range *w {
		if one.at.id() == at.id() && property != "HostName" {
			setAt(one.body, property, value)
			return
		}
	}
	body := map[string]any{}
	setAt(body, property, value)
	*w = append(*w, write{at, body})
}

func (c *Controller) setSyslog(ctx context.Context, v settingsView, address string, w *writes) error {
	host, port, err := net.SplitHostPort(bmc.SyslogAddress(address))
	if err != nil {
		return c.fail(bmc.ErrRejected, "set the syslog server", address+" is neither host nor host:port")
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return c.fail(bmc.ErrRejected, "set the syslog server", "port "+port+" is not a number")
	}
	if q := v.place.control.Syslog; v.syslog != nil {
		w.set(v.syslog, q.Server, host)
		if v.syslog.has(q.Port) {
			w.set(v.syslog, q.Port, n)
		}
		if q.Enabled != "" {
			w.set(v.syslog, q.Enabled, q.On)
		}
		return nil
	}
	_, err = c.conn.Do(ctx, http.MethodPost, v.subscribe, map[string]any{
		"Destination": "syslog://" + net.JoinHostPort(host, port), "Protocol": "SyslogUDP",
		"SubscriptionType": "Syslog", "Context": syslogContext,
	}, broker.Options{})
	if errors.Is(err, bmc.ErrRejected) {
		return c.wrap(bmc.ErrUnsupported, "subscribe a syslog server", err)
	}
	if err != nil {
		return err
	}
	for _, old := range v.listeners {
		// Only what we made ourselves: other people's destinations stay.
		if old.str("Context") == syslogContext {
			if _, err := c.conn.Do(ctx, http.MethodDelete, old.id(), nil, broker.Options{}); err != nil {
				return err
			}
		}
	}
	return nil
}
