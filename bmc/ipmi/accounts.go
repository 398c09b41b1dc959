package ipmi

import (
	"context"
	"fmt"
	"strings"

	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/cagenut/cagenut/bmc"
)

// Accounts lists the users with a name.
func (c *Controller) Accounts(ctx context.Context) ([]bmc.Account, error) {
	out := []bmc.Account{}
	for id, last := uint8(1), uint8(1); id <= last && id < 64; id++ {
		var access *app.GetUserAccessResponse
		err := c.do(ctx, fmt.Sprintf("Get User Access %d", id), func(ctx context.Context) (err error) {
			access, err = c.c.GetUserAccess(ctx, types.ChannelNumberSelf, id)
			return err
		})
		if err != nil {
			return nil, err
		}
		last = access.MaxUsersIDCount
		name := ""
		err = c.do(ctx, fmt.Sprintf("Get User Name %d", id), func(ctx context.Context) error {
			n, err := c.c.GetUsername(ctx, id)
			if r, ok := types.IsResponseError(err); ok && r.CompletionCode() != types.CodeInsufficientPrivilege {
				return nil //nolint:nilerr // an empty slot, on some BMCs
			}
			if err == nil {
				name = strings.TrimRight(n.Username, "\x00 ")
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if name == "" {
			continue
		}
		// Enable status of 2 is disabled by Set User Password; 0 is not told by older BMCs.
		out = append(out, bmc.Account{ID: fmt.Sprint(id), User: name, Role: access.MaxPrivLevel.String(),
			Enabled: access.EnableStatus != 2 && (access.EnableStatus == 1 || access.IPMIMessagingEnabled), URI: fmt.Sprintf("user/%d", id)})
	}
	return out, nil
}

// PasswordLengths gives IPMI 2.0's bound. Some BMCs keep only 16 characters and do not say so.
func (c *Controller) PasswordLengths(ctx context.Context) (least, most int, err error) {
	return 1, maxPassword, ctx.Err()
}

// SetPassword changes a user's password and has the BMC test it. IPMI 2.0 keeps at most 20
// characters. A password that is so already is not written.
func (c *Controller) SetPassword(ctx context.Context, user, password string) error {
	op := "Set User Password of " + user
	if password == "" || len(password) > maxPassword {
		return &bmc.Error{Kind: bmc.ErrRejected, Op: op, Host: c.host, Detail: "IPMI passwords have 1 to 20 characters"}
	}
	all, err := c.Accounts(ctx)
	if err != nil {
		return err
	}
	var id uint8
	var have []string
	for _, a := range all {
		have = append(have, a.User)
		if a.User == user {
			_, _ = fmt.Sscan(a.ID, &id)
		}
	}
	if id == 0 {
		return &bmc.Error{Kind: bmc.ErrRejected, Op: op, Host: c.host, Detail: "the BMC has " + strings.Join(have, ", ")}
	}
	long := len(password) > shortPassword
	if user == c.cfg.Credentials.User && password == c.cfg.Credentials.Password {
		return nil
	}
	c.cfg.Guard.PasswordSet(bmc.Credentials{User: user, Password: password})
	err = c.do(ctx, op, func(ctx context.Context) error {
		_, err := c.c.SetUserPassword(ctx, id, password, long)
		return err
	})
	if err != nil {
		return err
	}
	return c.do(ctx, "Test User Password of "+user, func(ctx context.Context) error {
		_, err := c.c.TestUserPassword(ctx, id, password, long)
		r, ok := types.IsResponseError(err)
		switch {
		case !ok:
			return err
		case r.CompletionCode() == 0x80 || r.CompletionCode() == 0x81: // wrong password, wrong size
			return &bmc.Error{Kind: bmc.ErrNotApplied, Detail: "the BMC does not take the new password"}
		}
		return nil // a BMC that cannot test it: the caller logs in with it anyway
	})
}
