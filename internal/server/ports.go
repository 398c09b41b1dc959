package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/workflows"
)

// planner is the API's planner: the install runbook over the firmware catalogue and the configuration.
func planner(c *config.Config) (func(plan.Facts, profile.Profile, []operation.FirmwareFile, string) (plan.Target, error), error) {
	sites := map[string]workflows.SiteResources{}
	for slug, site := range c.Sites {
		var err error
		if sites[slug], err = siteResources("sites."+slug, site); err != nil {
			return nil, err
		}
	}
	return func(f plan.Facts, p profile.Profile, files []operation.FirmwareFile, until string) (plan.Target, error) {
		return planInstall(f, p, files, workflows.Resources{SSHKeys: c.SSHKeys, Site: sites[f.Asset.Site]}, until)
	}, nil
}

func planInstall(f plan.Facts, p profile.Profile, files []operation.FirmwareFile, r workflows.Resources, until string) (plan.Target, error) {
	r.Image = func(file string) (plan.Image, error) {
		i := slices.IndexFunc(files, func(known operation.FirmwareFile) bool {
			return known.Name == file || strings.EqualFold(known.SHA256, file)
		})
		if i < 0 {
			return plan.Image{}, fmt.Errorf("not in the firmware store")
		}
		return plan.Image{File: files[i].Name, SHA256: files[i].SHA256, Size: files[i].Size}, nil
	}
	target, problems := workflows.Install(f, p, r, until)
	if unknown := unknownSteps(target); len(problems) == 0 && len(unknown) > 0 {
		e := fault.New(fault.Invalid, "no worker of this version can carry out %s of %s", strings.Join(unknown, ", "), f.Asset.Name)
		e.Details = []fault.Item{{Subject: "until", Seen: until, Remedy: "ask with --until " + workflows.UntilAddresses}}
		e.Remedy = e.Details[0].Remedy
		return plan.Target{}, e
	}
	if len(problems) == 0 {
		return target, nil
	}
	code := fault.BadImage
	subjects := make([]string, len(problems))
	for i, item := range problems {
		subjects[i] = item.Subject
		switch {
		case item.Subject == "until":
			code = fault.Invalid
		case code != fault.Invalid && !strings.HasPrefix(item.Subject, "firmware file of "):
			code = fault.Incomplete
		}
	}
	e := fault.New(code, "%s cannot be planned: %s", f.Asset.Name, strings.Join(subjects, ", "))
	e.Details = problems
	e.Remedy = cmp.Or(problems[0].Remedy, e.Remedy)
	return plan.Target{}, e
}

// unknownSteps names the steps of a target that apply and that no activity of this version does: a plan
// with them would be accepted only to park.
func unknownSteps(t plan.Target) []string {
	known := append((&activities.Central{}).Kinds(), (&activities.Site{}).Kinds()...)
	var out []string
	for _, s := range t.Steps {
		if s.NotApplicable == "" && !slices.Contains(known, fmt.Sprintf("%s/%d", s.Kind, s.Version)) {
			out = append(out, s.Name)
		}
	}
	return out
}

// siteSecrets are the passwords of a site's machines, through the API.
type siteSecrets struct{ api *client.Client }

var _ activities.Secrets = siteSecrets{}

func (s siteSecrets) Candidates(ctx context.Context, a asset.Ref, account string) ([]activities.Candidate, error) {
	list, err := s.api.Candidates(ctx, a.ID, account)
	if err != nil {
		return nil, err
	}
	out := make([]activities.Candidate, len(list))
	for i, c := range list {
		out[i] = fromWire(c)
	}
	return out, nil
}

func (s siteSecrets) Propose(ctx context.Context, a asset.Ref, account string, length int) (activities.Candidate, error) {
	c, err := s.api.Propose(ctx, a.ID, account, length)
	return fromWire(c), err
}

func (s siteSecrets) Promote(ctx context.Context, a asset.Ref, account string) error {
	return s.api.Promote(ctx, a.ID, account)
}

func fromWire(c wire.Candidate) activities.Candidate {
	return activities.Candidate{Source: activities.CandidateSource(c.Source), Credentials: bmc.Credentials{User: c.User, Password: c.Password}}
}
