package reader

import (
	"slices"
	"strings"

	"github.com/cagenut/cagenut/bmc"
)

// administration reads firmware, accounts, protocols, certificates and logs.
func (b *builder) administration() {
	b.of(func(key string, v value) {
		f := bmc.FirmwareComponent{ID: v.first("Id"), Name: v.get("Name").str(), Version: v.first("Version", "VersionString"),
			Updatable: v.get("Updateable").boolean(), State: v.path("Status.State").str(), Released: v.get("ReleaseDate").str(), URI: key}
		fill(&f.ID, lastSegment(key))
		for _, device := range b.targets(v.get("RelatedItem")) {
			f.Device = device
			break
		}
		if blank(f.Version) && (absent(v) || f.Name == "") {
			return
		}
		b.inv.Firmware = append(b.inv.Firmware, f)
	}, "SoftwareInventory")
	b.of(func(key string, v value) {
		a := bmc.Account{ID: v.first("Id"), User: v.get("UserName").str(), Role: v.first("RoleId"), URI: key,
			Enabled: true}
		if on := v.get("Enabled").boolean(); on != nil {
			a.Enabled = *on
		}
		if yes := v.get("Locked").boolean(); yes != nil {
			a.Locked = *yes
		}
		if yes := v.get("PasswordChangeRequired").boolean(); yes != nil {
			a.ChangeRequired = *yes
		}
		if strings.TrimSpace(a.User) != "" { // an empty slot otherwise
			b.inv.Accounts = append(b.inv.Accounts, a)
		}
	}, "ManagerAccount")
	b.of(func(key string, v value) {
		manager := under(key, "Managers")
		v.each(func(name string, p value) bool {
			enabled, port := p.get("ProtocolEnabled").boolean(), int(p.get("Port").integer())
			if p.isObject() && (enabled != nil || port > 0) {
				b.inv.Protocols = append(b.inv.Protocols, bmc.NetworkProtocol{Manager: manager, Name: name, Enabled: enabled, Port: port})
			}
			return true
		})
		for i := range b.inv.Managers {
			if b.inv.Managers[i].ID == manager {
				fill(&b.inv.Managers[i].HostName, v.first("FQDN", "HostName"))
			}
		}
	}, "ManagerNetworkProtocol")
	b.of(func(key string, v value) {
		const x509 = "X509CertificateInformation."
		c := bmc.Certificate{ID: v.first("Id"), Subject: name(v, "Subject"), Issuer: name(v, "Issuer"),
			Serial:    v.first("SerialNumber", x509+"SerialNumber"),
			NotBefore: v.first("ValidNotBefore", x509+"ValidNotBefore"), NotAfter: v.first("ValidNotAfter", x509+"ValidNotAfter"), URI: key}
		fill(&c.ID, lastSegment(key))
		var usage []string
		v.get("KeyUsage").each(func(_ string, u value) bool { usage = append(usage, u.str()); return true })
		c.Usage = strings.Join(usage, ", ")
		if c.Usage == "" {
			c.Usage = v.get("CertificateUsageTypes").str()
		}
		if anyText(c.Subject, c.Issuer, c.Serial, c.NotAfter) {
			b.inv.Certificates = append(b.inv.Certificates, c)
		}
	}, "Certificate")
	b.of(func(key string, v value) {
		log, _, _ := strings.Cut(key, "/Entries")
		e := bmc.Event{ID: v.first("Id"), Log: log, Time: v.first("Created", "EventTimestamp"), Severity: v.get("Severity").str(),
			Message: strings.TrimSpace(v.first("Message", "Name")), Code: v.first("MessageId", "SensorType", "EntryCode"), URI: key}
		fill(&e.ID, lastSegment(key))
		b.inv.Events = append(b.inv.Events, e)
	}, "LogEntry")
	slices.SortStableFunc(b.inv.Events, func(a, c bmc.Event) int { return strings.Compare(c.Time, a.Time) })
}

// name reads a certificate's subject or issuer: a string, or an object of its parts.
func name(v value, which string) string {
	n := v.get(which)
	if !n.exists() {
		n = v.get("X509CertificateInformation", which)
	}
	if n.isString() {
		return n.str()
	}
	var parts []string
	for _, p := range [...][2]string{{"CommonName", "CN"}, {"Organization", "O"}, {"OrganizationalUnit", "OU"}, {"Country", "C"}} {
		if s := n.get(p[0]).str(); s != "" {
			parts = append(parts, p[1]+"="+s)
		}
	}
	return strings.Join(parts, ", ")
}
