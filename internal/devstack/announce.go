package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/login"
)

// announce leaves this stack's login where cagenut finds it by itself, unless another stack has one
// there and still answers: a command must not reach another stack than the one it reached before, and
// racks have the same names in all. It says on out what to type then. Only what a person runs (up,
// demo) announces itself; stacks of tests do not.
func (s *Stack) announce(ctx context.Context, out io.Writer) {
	if err := s.keepLogin(ctx, out); err != nil {
		fmt.Fprintf(out, "cagenut does not find this stack by itself: %v; set CAGENUT_DATA=%s\n", err, s.dir)
	}
}

func (s *Stack) keepLogin(ctx context.Context, out io.Writer) error {
	path, err := login.DevPath()
	if err != nil {
		return err
	}
	kept, ok, err := login.Load(path)
	if err == nil && ok && kept.Dir != s.dir && kept.URL != s.API() && answers(ctx, kept) {
		other := kept.URL
		if kept.Dir != "" {
			other = "the stack in " + kept.Dir
		}
		fmt.Fprintf(out, "cagenut goes on using %s, which still runs; for this one set CAGENUT_DATA=%s\n", other, s.dir)
		return nil
	}
	// A file that cannot be read as a login is of an older program or of nobody's use: it is replaced.
	own, err := login.OfStack(s.dir)
	if err != nil {
		return err
	}
	s.announced = true
	return login.Save(path, own)
}

// withdraw removes the login that announce left. That of another stack stays, and so does one that
// another process left for this folder: that one runs, and this process could not start beside it.
func (s *Stack) withdraw() error {
	if !s.announced {
		return nil
	}
	path, err := login.DevPath()
	if err != nil {
		return nil //nolint:nilerr // nowhere to keep one, so there is none
	}
	kept, ok, err := login.Load(path)
	if err != nil || !ok || kept.Dir != s.dir {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// answers tells whether the control plane of a login is there and knows the token. Another program
// that took the port of a stack that was killed does not.
func answers(ctx context.Context, l login.Login) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cl, err := client.New(l.URL, l.Token, "cagenut-dev", nil)
	if err != nil {
		return false
	}
	_, err = cl.Whoami(ctx)
	return err == nil || fault.From(err).Code == fault.StoreAway
}
