package sim

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// How a BMC of the box defends its accounts.
const (
	sessionLimit = 8
	lockAfter    = 5
	lockFor      = 30 * time.Second
)

// public tells what DSP0266 lets everybody read.
func public(method, path string) bool {
	if method == http.MethodPost {
		return path == sessionsPath
	}
	switch path {
	case "/redfish", "/redfish/v1", "/redfish/v1/odata", "/redfish/v1/$metadata":
		return method == http.MethodGet || method == http.MethodHead
	}
	return false
}

// authenticate finds out who asks. nil means that they may go on.
func (c *call) authenticate() *answer {
	if public(c.method, c.path) {
		return nil
	}
	st := &c.m.st
	var who *account
	if token := c.header.Get("X-Auth-Token"); token != "" {
		hash := hashPassword("token", token)
		i := slices.IndexFunc(st.Sessions, func(s session) bool { return s.Hash == hash })
		if i < 0 {
			return unauthorized()
		}
		st.Sessions[i].Used = c.now
		c.session = st.Sessions[i].ID
		who = st.accountOf(st.Sessions[i].User)
	} else {
		user, password, given := basicAuth(c.header)
		if !given {
			return unauthorized()
		}
		who = c.login(user, password)
	}
	if who == nil || !who.Enabled {
		return unauthorized()
	}
	c.user = who.User
	own := accountsPath + "/" + who.ID
	if who.ChangeRequired && !c.allowedBeforeChange(own) {
		return failure(http.StatusForbidden, "PasswordChangeRequired",
			"The password provided for this account must be changed before access is granted.  PATCH the Password property for this account located at the target URI '%s' to complete this process.", own)
	}
	if who.Role == "ReadOnly" && c.mutates() && !strings.HasPrefix(c.path, sessionsPath) && c.path != own {
		return failure(http.StatusForbidden, "InsufficientPrivilege", "There are insufficient privileges for the account or credentials associated with the current session to perform the requested operation.")
	}
	return nil
}

// allowedBeforeChange is what an account may do whose password must be changed (DSP0266 13.2.6).
func (c *call) allowedBeforeChange(own string) bool {
	if c.path == own {
		return c.method == http.MethodGet || c.method == http.MethodPatch && len(c.body) == 1 && c.body["Password"] != nil
	}
	return strings.HasPrefix(c.path, sessionsPath+"/") && (c.method == http.MethodDelete || c.method == http.MethodGet)
}

func basicAuth(h http.Header) (user, password string, ok bool) {
	kind, value, _ := strings.Cut(h.Get("Authorization"), " ")
	raw, err := base64.StdEncoding.DecodeString(value)
	if !strings.EqualFold(kind, "Basic") || err != nil {
		return "", "", false
	}
	return strings.Cut(string(raw), ":")
}

// login checks a password, counts failures and locks the account after too many.
func (c *call) login(user, password string) *account {
	m := c.m
	a := m.st.accountOf(user)
	if a == nil || !a.Enabled || a.LockedUntil.After(c.now) {
		return nil
	}
	if a.accepts(password) {
		if a.Failures > 0 {
			a.Failures = 0
			m.dirty = true
		}
		return a
	}
	m.dirty = true
	if a.Failures++; a.Failures >= lockAfter {
		a.Failures, a.LockedUntil = 0, c.now.Add(lockFor)
		m.effect(c.now, EffectAccountLocked, a.User)
		m.log(&m.st, c.now, "Warning", "AccountLocked", "Account "+a.User+" was locked after failed logins.")
	}
	return nil
}

// openSession is POST of the session collection.
func openSession(c *call) *answer {
	user, _ := c.body["UserName"].(string)
	password, _ := c.body["Password"].(string)
	if user == "" || password == "" {
		return failure(http.StatusBadRequest, "PropertyMissing", "The property %s is a required property and must be included in the request.", "UserName and Password")
	}
	c.user = user
	who := c.login(user, password)
	if who == nil {
		return unauthorized()
	}
	st := &c.m.st
	if len(st.Sessions) >= sessionLimit {
		return failure(http.StatusServiceUnavailable, "SessionLimitExceeded",
			"The session establishment failed due to the number of simultaneous sessions exceeding the limit of the implementation.")
	}
	secret := make([]byte, 16)
	rand.Read(secret)
	token := hex.EncodeToString(secret)
	s := session{
		ID: c.f.sessionID(st.next()), Hash: hashPassword("token", token), User: user, From: c.remote,
		Created: c.now, Used: c.now,
	}
	st.Sessions = append(st.Sessions, s)
	st.MaxSessions = max(st.MaxSessions, len(st.Sessions))
	c.m.effect(c.now, EffectSessionOpened, s.ID)
	body := sessionBody(s)
	if who.ChangeRequired {
		body["@Message.ExtendedInfo"] = []obj{message("PasswordChangeRequired", "Critical",
			"The password provided for this account must be changed before access is granted.  PATCH the Password property for this account located at the target URI '%s' to complete this process.", accountsPath+"/"+who.ID)}
	}
	return (&answer{status: http.StatusCreated, body: body}).with("Location", sessionsPath+"/"+s.ID).with("X-Auth-Token", token)
}

func sessionBody(s session) obj {
	r := resource(sessionsPath+"/"+s.ID, "Session.v1_3_0.Session", s.ID, "Session")
	r["UserName"] = s.User
	return r
}

func getSession(c *call) obj {
	for _, s := range c.m.st.Sessions {
		if s.ID == c.id {
			return sessionBody(s)
		}
	}
	return nil
}

// closeSession is DELETE of a session.
func closeSession(c *call) *answer {
	st := &c.m.st
	i := slices.IndexFunc(st.Sessions, func(s session) bool { return s.ID == c.id })
	if i < 0 {
		return notFound(c.path)
	}
	st.Sessions = slices.Delete(st.Sessions, i, i+1)
	c.m.effect(c.now, EffectSessionClosed, c.id)
	return noContent()
}

// expireSessions ends what was idle for too long.
func (m *Machine) expireSessions(now time.Time) {
	idle := time.Duration(m.st.Timeout) * time.Second
	m.st.Sessions = slices.DeleteFunc(m.st.Sessions, func(s session) bool {
		if now.Sub(s.Used) < idle {
			return false
		}
		m.effect(s.Used.Add(idle), EffectSessionExpired, s.ID)
		return true
	})
}

// endSession is the fault "expired session": the BMC forgets the session that asks.
func (m *Machine) endSession(token string) {
	hash := hashPassword("token", token)
	m.st.Sessions = slices.DeleteFunc(m.st.Sessions, func(s session) bool {
		if s.Hash != hash {
			return false
		}
		m.effect(m.box.now(), EffectSessionExpired, s.ID)
		return true
	})
}
