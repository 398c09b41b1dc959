package sim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

const (
	accountsPath = "/redfish/v1/AccountService/Accounts"
	rolesPath    = "/redfish/v1/AccountService/Roles"
	sessionsPath = "/redfish/v1/SessionService/Sessions"
)

var roles = []string{"Administrator", "Operator", "ReadOnly"}

func (c *call) account() *account {
	for i := range c.m.st.Accounts {
		if c.m.st.Accounts[i].ID == c.id {
			return &c.m.st.Accounts[i]
		}
	}
	return nil
}

func getAccount(c *call) obj {
	a := c.account()
	if a == nil {
		return nil
	}
	r := resource(c.path, "ManagerAccount.v1_8_0.ManagerAccount", a.ID, "User Account")
	r["UserName"], r["RoleId"], r["Enabled"] = a.User, a.Role, a.Enabled
	r["Password"] = nil
	r["Locked"] = a.LockedUntil.After(c.now)
	r["PasswordChangeRequired"] = a.ChangeRequired
	r["AccountTypes"] = []string{"Redfish"}
	if slices.Contains(roles, a.Role) {
		r["Links"] = obj{"Role": ref(rolesPath + "/" + a.Role)}
	}
	return r
}

// goodPassword tells why a password is refused; empty: it is fine.
func (f *flavour) goodPassword(a *account, password string) string {
	switch {
	case len(password) < 8 || len(password) > f.passwordMax:
		return fmt.Sprintf("it must have 8 to %d characters", f.passwordMax)
	case a.ChangeRequired && a.accepts(password):
		return "it must differ from the old one"
	}
	return ""
}

// patchAccount changes an account, or fills a free slot on BMCs that have slots.
func patchAccount(c *call) *answer {
	a := c.account()
	if a == nil {
		return notFound(c.path)
	}
	salt := word(c.m.spec.Serial, fmt.Sprint("salt/", c.m.st.Seq), 8)
	changed := func(what string) { c.m.effect(c.now, EffectAccountChanged, a.User+" "+what) }
	return patch(c, map[string]setter{
		"Password": func(v any) (func(), *answer) {
			password, isText := v.(string)
			if !isText {
				return nil, badPassword("it must be text")
			}
			if why := c.f.goodPassword(a, password); why != "" {
				return nil, badPassword(why)
			}
			return func() {
				c.m.st.next()
				a.setPassword(salt, password)
				a.ChangeRequired, a.Failures = false, 0
				c.m.effect(c.now, EffectPasswordChanged, a.User)
				c.m.log(&c.m.st, c.now, "OK", "PasswordChanged", "The password of account "+a.User+" was changed.")
			}, nil
		},
		"UserName": textSetter("UserName", 16, func(s string) { a.User = s; changed("renamed") }),
		"RoleId":   oneOfSetter("RoleId", append([]string{"None"}, roles...), func(s string) { a.Role = s; changed("role " + s) }),
		"Enabled":  boolSetter("Enabled", func(b bool) { a.Enabled = b; changed("enabled " + strconv.FormatBool(b)) }),
		"Locked": func(v any) (func(), *answer) {
			if v != false {
				return nil, badValue("Locked", v, "only false can be written")
			}
			return func() { a.LockedUntil, a.Failures = c.now, 0; changed("unlocked") }, nil
		},
	})
}

// badPassword is a refusal that does not repeat the password.
func badPassword(why string) *answer {
	return failure(http.StatusBadRequest, "PropertyValueFormatError",
		"The value '%s' for the property %s is not accepted: %s.", "******", "Password", why).about("#/Password")
}

// createAccount is POST of the account collection, where a flavour has it.
func createAccount(c *call) *answer {
	user, _ := c.body["UserName"].(string)
	password, _ := c.body["Password"].(string)
	role, _ := c.body["RoleId"].(string)
	st := &c.m.st
	a := account{User: user, Role: role, Enabled: true}
	if enabled, given := c.body["Enabled"].(bool); given {
		a.Enabled = enabled
	}
	switch {
	case user == "" || len(user) > 16:
		return badValue("UserName", user, "it must have 1 to 16 characters")
	case st.accountOf(user) != nil:
		return failure(http.StatusBadRequest, "ResourceAlreadyExists", "The requested resource of type ManagerAccount with the property UserName with the value '%s' already exists.", user)
	case !slices.Contains(roles, role):
		return badValue("RoleId", role, "use one of the roles")
	}
	if why := c.f.goodPassword(&a, password); why != "" {
		return badPassword(why)
	}
	a.ID = strconv.Itoa(st.next())
	if c.f.accountsByName {
		a.ID = user
	}
	a.setPassword(word(c.m.spec.Serial, "salt/"+a.ID, 8), password)
	st.Accounts = append(st.Accounts, a)
	c.m.effect(c.now, EffectAccountChanged, user+" created")
	return c.created(accountsPath, a.ID, getAccount)
}

func deleteAccount(c *call) *answer {
	st := &c.m.st
	i := slices.IndexFunc(st.Accounts, func(a account) bool { return a.ID == c.id })
	switch {
	case i < 0:
		return notFound(c.path)
	case st.Accounts[i].User == c.m.spec.User:
		return failure(http.StatusBadRequest, "ResourceCannotBeDeleted", "The delete request failed because the resource requested cannot be deleted.")
	}
	c.m.effect(c.now, EffectAccountChanged, st.Accounts[i].User+" removed")
	if c.f.accountSlots > 0 {
		st.Accounts[i] = account{ID: st.Accounts[i].ID, Role: "None"}
	} else {
		st.Accounts = slices.Delete(st.Accounts, i, i+1)
	}
	return noContent()
}
