package workflows

import (
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// images finds the profile's firmware files in the store, and notes those that are missing.
func (in *install) images(find func(file string) (plan.Image, error)) []plan.Image {
	var out []plan.Image
	for _, c := range in.profile.Firmware.Components {
		image := in.image(c, c.Component, find)
		for _, via := range c.Via {
			image.Via = append(image.Via, in.image(via, c.Component, find))
		}
		out = append(out, image)
	}
	return out
}

func (in *install) image(c profile.Component, component string, find func(file string) (plan.Image, error)) plan.Image {
	image, err := find(c.File)
	if err != nil {
		in.problems = append(in.problems, fault.Item{
			Subject: "firmware file of " + component + " " + c.Version, Expected: c.File, Seen: err.Error(),
			Remedy: "add it: `cagenut firmware add " + c.File + "`",
		})
	}
	image.Component, image.Version, image.AllowDowngrade = component, c.Version, c.AllowDowngrade
	image.Reboot, image.Push = or(c.Reboot, "none"), or(c.Push, "auto")
	return image
}
