package activities

import (
	"cmp"
	"context"
	"fmt"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// passwordLength gives the length that was asked for, or the longest that the BMC says it takes. Plans
// of before the profile could say it ask for none.
func passwordLength(ctx context.Context, c Call, ctrl bmc.Controller, asked int) (int, error) {
	if asked == 0 {
		asked = cmp.Or(c.BMC.PasswordLength, profile.MaxPassword)
	}
	least, most, err := ctrl.PasswordLengths(ctx)
	switch {
	case err != nil:
		return 0, err
	case most > 0 && most < profile.MinPassword, least > profile.MaxPassword:
		return 0, fault.New(fault.Unsupported, "the BMC of %s takes passwords of %d to %d characters; Cagenut makes them of %d to %d",
			c.Asset.Name, least, most, profile.MinPassword, profile.MaxPassword)
	case most > 0 && most < asked:
		return most, nil
	}
	return max(asked, least), nil
}

// credentials gives the BMC a password of its own machine: made durable as pending, changed on the
// BMC, proved by logging in with it, then promoted. A crash anywhere leaves one of the passwords
// that Candidates lists, and a handle that tells whose change it was.
func (a *Site) credentials(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantCredentials, passwordHandle](c)
	if err != nil {
		return Result{}, err
	}
	ctrl, err := a.open(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	done := &Done{}
	switch {
	case ctrl.source == SourceCurrent && !h.Change:
		done.Summary = fmt.Sprintf("account %s already has a password of its own", want.Account)
		return Result{Done: done}, nil
	case ctrl.source == SourceShared:
		done.Summary = fmt.Sprintf("account %s keeps the password that all machines share, since secrets.driver is env; "+
			"file or postgres would give each its own", want.Account)
		return Result{Done: done}, nil
	case ctrl.source == SourceCurrent: // the answer of the call that changed it was lost
	case !h.Change:
		return again(0, passwordHandle{Change: true}, "changing the password of account %s", want.Account)
	case ctrl.source == SourcePending: // a crash came between the change and the promotion
		if _, err := prove(ctx, c, ctrl, c.Asset.Serial); err != nil {
			return Result{}, err
		}
		if err := a.Secrets.Promote(ctx, c.Asset, want.Account); err != nil {
			return Result{}, err
		}
	default:
		if _, err := prove(ctx, c, ctrl, c.Asset.Serial); err != nil {
			return Result{}, err
		}
		e := a.Endpoint(c.Asset, c.BMC)
		e.Pin = c.Known.Pin
		next, err := a.replacePassword(ctx, c, e, ctrl, want.Length)
		if err != nil {
			return Result{}, err
		}
		_ = next.Close(ctx)
	}
	done.Changed = true
	done.Summary = fmt.Sprintf("account %s has a password of its own", want.Account)
	done.Writes = []plan.Write{passwordWrite(c)}
	return Result{Done: done}, nil
}

// replacePassword changes the account's password over ctrl, since the BMC demands it or it is not this
// machine's own, and returns a controller that is logged in with the new one. A pending password that
// logged in is promoted first: the BMC has it, and a new one can only be proposed when none is pending.
func (a *Site) replacePassword(ctx context.Context, c Call, e bmc.Endpoint, ctrl *login, length int) (*login, error) {
	account := c.BMC.Account
	if ctrl.source == SourcePending {
		if err := a.Secrets.Promote(ctx, c.Asset, account); err != nil {
			return nil, err
		}
	}
	length, err := passwordLength(ctx, c, ctrl, length)
	if err != nil {
		return nil, err
	}
	pending, err := a.Secrets.Propose(ctx, c.Asset, account, length)
	if err != nil {
		return nil, err
	}
	if err := ctrl.SetPassword(ctx, account, pending.Credentials.Password); err != nil {
		return nil, err
	}
	next, err := a.BMCs.Open(ctx, e, pending.Credentials)
	if err != nil {
		return nil, fmt.Errorf("log in as %s with the new password: %w", account, err)
	}
	if err := a.Secrets.Promote(ctx, c.Asset, account); err != nil {
		_ = next.Close(ctx)
		return nil, err
	}
	return &login{Controller: next, source: SourceCurrent}, nil
}

func passwordWrite(c Call) plan.Write {
	return plan.Write{System: "bmc", Object: "account " + c.BMC.Account, Field: "password", Before: "factory", After: "generated, this machine's own"}
}
