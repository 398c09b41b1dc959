package sim

import "fmt"

// flavour is how a vendor's BMC differs. All machines of a flavour share one.
type flavour struct {
	name     string
	user     string // the factory account
	mgmtPort string // name of the BMC's interface in the source of truth
	serial   func(seed string) string
}

var flavours = map[string]*flavour{
	FlavourBase:       {name: FlavourBase, user: "admin", mgmtPort: "bmc", serial: serialer("CS", 10)},
	FlavourDell:       {name: FlavourDell, user: "root", mgmtPort: "iDRAC", serial: serialer("", 7)},
	FlavourHPE:        {name: FlavourHPE, user: "Administrator", mgmtPort: "iLO", serial: serialer("CZ", 8)},
	FlavourLenovo:     {name: FlavourLenovo, user: "USERID", mgmtPort: "XCC", serial: serialer("J", 7)},
	FlavourSupermicro: {name: FlavourSupermicro, user: "ADMIN", mgmtPort: "IPMI", serial: serialer("S", 14)},
	FlavourOpenBMC:    {name: FlavourOpenBMC, user: "root", mgmtPort: "bmc", serial: serialer("WY", 11)},
}

func serialer(prefix string, n int) func(string) string {
	return func(seed string) string { return prefix + word(seed, "serial", n) }
}

func flavourOf(name string) *flavour {
	f, ok := flavours[name]
	if !ok {
		panic(fmt.Sprintf("sim: unknown flavour %q", name))
	}
	return f
}
