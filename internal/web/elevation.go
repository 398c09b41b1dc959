package web

import (
	"fmt"
	"math"
	"slices"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

// The measures of a drawn rack, in the units of its SVG.
const (
	unitHeight = 24
	railWidth  = 34  // for the numbers of the units
	bayWidth   = 420 // for the devices
	maxUnits   = 100 // NetBox allows no higher rack
)

// elevation is one face of a rack, ready to be drawn.
type elevation struct {
	Face          string // front, rear
	Label         string
	Width, Height float64
	Units         []unit
	Boxes         []box
}

// unit is a line of the rack with its number.
type unit struct {
	Number int
	Y      float64 // of its upper edge
}

// TextY is where the number is written.
func (u unit) TextY() float64 { return u.Y + unitHeight/2 + 5.5 }

// box is a device, or the back of one that is mounted on the other face.
type box struct {
	Device     deviceState
	X, Y, W, H float64
	Back       bool   // mounted on the other face, and as deep as the rack
	Where      string // U12, U12–U13, U12.5
}

// TextY is where the name is written; small boxes get small letters.
func (b box) TextY() float64 {
	if b.Small() {
		return b.Y + b.H/2 + 3
	}
	return b.Y + b.H/2 + 6
}

// Small tells that the box is lower than a unit.
func (b box) Small() bool { return b.H < unitHeight-4 }

// deviceState is a device of a rack with what we know of it.
type deviceState struct {
	inventory.RackDevice
	Run *operation.Run // the newest of ours; nil: none
}

// Live tells whether an operation holds the device now.
func (d deviceState) Live() bool { return d.Run != nil && !d.Run.State.Ended() }

// Class is the colour: what we are doing to a machine comes before its status in NetBox.
func (d deviceState) Class() string {
	if d.Live() {
		return string(d.Run.State)
	}
	switch d.Status {
	case asset.Planned, asset.Staged, asset.Active, asset.Failed, asset.Decommissioning, asset.Offline:
		return "nb-" + string(d.Status)
	}
	return "nb-other"
}

// Says is the state in words, short enough to stand in a box.
func (d deviceState) Says() string {
	if !d.Live() {
		return string(d.Status)
	}
	switch d.Run.State {
	case operation.Waiting:
		return "waits: " + d.Run.Step
	case operation.Away:
		return "site away"
	case operation.Running:
		return "runs: " + d.Run.Step
	}
	return string(d.Run.State)
}

// misplaced is a device that cannot be drawn, and why.
type misplaced struct {
	Device deviceState
	Why    string
}

// place lays a rack out: its two faces, and what cannot be drawn.
func place(r inventory.Rack, devices []deviceState) (front, rear elevation, rest []misplaced) {
	height := min(max(r.Height, 1), maxUnits)
	lowest := r.Lowest
	if lowest == 0 {
		lowest = 1
	}
	make := func(face string) elevation {
		e := elevation{Face: face, Label: fmt.Sprintf("Rack %s, %s", r.Name, face), Width: railWidth + bayWidth, Height: float64(height * unitHeight)}
		for i := range height {
			n := lowest + height - 1 - i
			if r.Descending {
				n = lowest + i
			}
			e.Units = append(e.Units, unit{Number: n, Y: float64(i * unitHeight)})
		}
		return e
	}
	front, rear = make("front"), make("rear")
	for _, d := range devices {
		why := ""
		at := d.Position - float64(lowest) // units between the rack's first and the device
		switch {
		case d.Position == 0 && d.Height == 0:
			why = "takes no unit"
		case d.Position == 0:
			why = "NetBox gives no position"
		case d.Height == 0:
			why = "its device type has no height"
		case d.Face != "front" && d.Face != "rear":
			why = "NetBox gives no face"
		case at < 0 || at+d.Height > float64(height):
			why = fmt.Sprintf("position %g and height %g do not fit into %d units from %d", d.Position, d.Height, height, lowest)
		}
		if why != "" {
			rest = append(rest, misplaced{d, why})
			continue
		}
		y := (float64(height) - at - d.Height) * unitHeight
		if r.Descending {
			y = at * unitHeight
		}
		b := box{Device: d, X: railWidth, Y: y + 1, W: bayWidth, H: d.Height*unitHeight - 2, Where: where(d.Position, d.Height)}
		mine, other := &front, &rear
		if d.Face == "rear" {
			mine, other = &rear, &front
		}
		mine.Boxes = append(mine.Boxes, b)
		if d.FullDepth {
			b.Back = true
			other.Boxes = append(other.Boxes, b)
		}
	}
	for _, e := range []*elevation{&front, &rear} {
		slices.SortStableFunc(e.Boxes, func(a, b box) int { return int(a.Y - b.Y) })
	}
	return front, rear, rest
}

// where says which units a device takes.
func where(position, height float64) string {
	last := position + height - 1
	if height <= 1 || math.Floor(last) <= position {
		return fmt.Sprintf("U%g", position)
	}
	return fmt.Sprintf("U%g–U%g", position, last)
}
