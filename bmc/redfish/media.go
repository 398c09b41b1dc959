package redfish

import (
	"context"
	"net/http"
	"slices"

	provider "github.com/bmc-toolbox/bmclib/v2/providers/redfish"

	"github.com/cagenut/cagenut/bmc/broker"
)

// drives reads the virtual CD drives: the manager's, or the system's where the manager has none.
func (c *Controller) drives(ctx context.Context) (*place, []object, error) {
	p, err := c.where(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, owner := range []string{p.manager, p.system} {
		if owner == "" {
			continue
		}
		o, err := c.get(ctx, owner)
		if err != nil {
			return nil, nil, err
		}
		all, err := c.members(ctx, o, "VirtualMedia")
		if err != nil && !gone(err) {
			return nil, nil, err
		}
		var cds []object
		for _, d := range all {
			types := d.strs("MediaTypes")
			if slices.Contains(types, "CD") || slices.Contains(types, "DVD") {
				cds = append(cds, d)
			}
		}
		if len(cds) > 0 {
			return p, cds, nil
		}
	}
	return p, nil, nil
}

func inserted(d object) bool {
	in, known := d.boolean("Inserted")
	return in || !known && d.str("Image") != ""
}

// InsertMedia makes the BMC present the image as a CD. What is in the drives already is taken out
// first, unless it is this image.
func (c *Controller) InsertMedia(ctx context.Context, url string) error {
	op := "insert virtual media"
	p, cds, err := c.drives(ctx)
	if err != nil {
		return err
	}
	if len(cds) == 0 {
		return c.unsupported(op, "virtual CD drive")
	}
	if holds(cds, url) {
		return nil
	}
	// bmclib inserts by the action alone; drives without it (Lenovo's) are written to (DSP0268
	// VirtualMedia.Image).
	i := slices.IndexFunc(cds, func(d object) bool { return d.action("VirtualMedia.InsertMedia") != "" })
	if i >= 0 && !p.unnamed {
		err = c.library(ctx, p, func(ctx context.Context, l *provider.Conn) (bool, error) { return l.SetVirtualMedia(ctx, "CD", url) })
	} else if i >= 0 {
		_, err = c.conn.Do(ctx, http.MethodPost, cds[i].action("VirtualMedia.InsertMedia"), map[string]any{"Image": url}, broker.Options{})
	} else {
		err = c.change(ctx, cds[0].id(), cds[0].etag(), map[string]any{"Image": url, "Inserted": true})
	}
	if err != nil {
		return err
	}
	return c.readBack(ctx, op, func() (bool, string, error) {
		_, now, err := c.drives(ctx)
		return holds(now, url), "no drive with that image", err
	})
}

func holds(cds []object, url string) bool {
	return slices.ContainsFunc(cds, func(d object) bool { return inserted(d) && sameURL(d.str("Image"), url) })
}

// EjectMedia empties the virtual CD drives.
func (c *Controller) EjectMedia(ctx context.Context) error {
	op := "eject virtual media"
	p, cds, err := c.drives(ctx)
	if err != nil {
		return err
	}
	if len(cds) == 0 {
		return c.unsupported(op, "virtual CD drive")
	}
	if !slices.ContainsFunc(cds, inserted) {
		return nil
	}
	// bmclib looks at the first drive only, and says yes when that was empty.
	if inserted(cds[0]) && cds[0].action("VirtualMedia.EjectMedia") != "" && !p.unnamed {
		err = c.library(ctx, p, func(ctx context.Context, l *provider.Conn) (bool, error) { return l.SetVirtualMedia(ctx, "CD", "") })
		if err != nil {
			return err
		}
		if _, cds, err = c.drives(ctx); err != nil {
			return err
		}
	}
	for _, d := range cds {
		if !inserted(d) {
			continue
		}
		if target := d.action("VirtualMedia.EjectMedia"); target != "" {
			_, err = c.conn.Do(ctx, http.MethodPost, target, struct{}{}, broker.Options{})
		} else {
			err = c.change(ctx, d.id(), d.etag(), map[string]any{"Image": nil, "Inserted": false})
		}
		if err != nil {
			return err
		}
	}
	return c.readBack(ctx, op, func() (bool, string, error) {
		_, now, err := c.drives(ctx)
		return !slices.ContainsFunc(now, inserted), "an image", err
	})
}
