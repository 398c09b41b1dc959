package redfish

import (
	"context"
	"errors"
	"strings"

	"github.com/cagenut/cagenut/bmc"
)

// Accounts lists the accounts in use.
func (c *Controller) Accounts(ctx context.Context) ([]bmc.Account, error) {
	all, err := c.accounts(ctx)
	if err != nil {
		return nil, err
	}
	out := []bmc.Account{}
	for _, a := range all {
		enabled, known := a.boolean("Enabled")
		locked, _ := a.boolean("Locked")
		change, _ := a.boolean("PasswordChangeRequired")
		out = append(out, bmc.Account{ID: a.str("Id"), User: a.str("UserName"), Role: a.str("RoleId"),
			Enabled: enabled || !known, Locked: locked, ChangeRequired: change, URI: a.id()})
	}
	return out, nil
}

func (c *Controller) accountService(ctx context.Context) (object, error) {
	root, err := c.get(ctx, rootPath)
	if err != nil {
		return nil, err
	}
	service := root.link("AccountService")
	if service == "" {
		return nil, c.unsupported("accounts", "AccountService")
	}
	return c.get(ctx, service)
}

// PasswordLengths gives the bounds that the AccountService names. A BMC that demands a new password may
// not let us read them: then they are 0.
func (c *Controller) PasswordLengths(ctx context.Context) (least, most int, err error) {
	s, err := c.accountService(ctx)
	if errors.Is(err, bmc.ErrPasswordChange) || errors.Is(err, bmc.ErrUnsupported) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	least, _ = s.integer("MinPasswordLength")
	most, _ = s.integer("MaxPasswordLength")
	return least, most, nil
}

func (c *Controller) accounts(ctx context.Context) ([]object, error) {
	s, err := c.accountService(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.members(ctx, s, "Accounts")
	if err != nil {
		return nil, err
	}
	var used []object
	for _, a := range all {
		if a.str("UserName") != "" {
			used = append(used, a)
		}
	}
	return used, nil
}

// SetPassword changes an account's password. It cannot be read back: log in with it. After a change
// of the account that this Controller is logged in with, the Controller is good for Close alone.
// Setting the password that it is logged in with sends nothing.
func (c *Controller) SetPassword(ctx context.Context, user, password string) error {
	op := "set the password of " + user
	if password == "" || user == "" {
		return c.fail(bmc.ErrRejected, op, "user and password must not be empty")
	}
	if user == c.conn.User() && c.conn.Proves(password) {
		return nil
	}
	path, etag, err := c.accountOf(ctx, user)
	if err != nil {
		return err
	}
	c.conn.PasswordSet(user, password)
	if err := c.change(ctx, path, etag, map[string]string{"Password": password}); err != nil {
		return hide(err, password)
	}
	if user == c.conn.User() {
		c.conn.Retire()
	}
	return nil
}

// accountOf finds an account. A BMC that demands a new password says where, and may let us read
// nothing else.
func (c *Controller) accountOf(ctx context.Context, user string) (path, etag string, err error) {
	if at, required := c.conn.PasswordChange(); required && at != "" && user == c.conn.User() {
		if a, err := c.get(ctx, at); err == nil {
			etag = a.etag()
		}
		return at, etag, nil
	}
	all, err := c.accounts(ctx)
	if err != nil {
		return "", "", err
	}
	var have []string
	for _, a := range all {
		if a.str("UserName") == user {
			return a.id(), a.etag(), nil
		}
		have = append(have, a.str("UserName"))
	}
	return "", "", c.fail(bmc.ErrRejected, "find the account "+user, "the BMC has "+strings.Join(have, ", "))
}

// hide takes a new password out of a BMC's refusal: some repeat what they were sent.
func hide(err error, secret string) error {
	var e *bmc.Error
	if !errors.As(err, &e) {
		return err
	}
	clean := *e
	clean.Detail = strings.ReplaceAll(e.Detail, secret, "***")
	return &clean
}
