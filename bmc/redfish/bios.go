package redfish

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/quirks"
)

// biosView is a Bios resource with its settings object (DSP0268 Bios, Settings).
type biosView struct {
	current  object
	settings object // the current one itself where there is no other
	at       string // where to PATCH
	registry *attributeRegistry
}

// BIOS reads the current and pending attributes.
func (c *Controller) BIOS(ctx context.Context) (bmc.BIOSState, error) {
	v, sys, err := c.biosView(ctx)
	if err != nil {
		return bmc.BIOSState{}, err
	}
	return v.state(sys), nil
}

func (c *Controller) biosView(ctx context.Context) (biosView, object, error) {
	_, sys, err := c.systemNow(ctx)
	if err != nil {
		return biosView{}, nil, err
	}
	path := sys.link("Bios")
	if path == "" {
		return biosView{}, sys, c.unsupported("read the BIOS", "Bios resource")
	}
	v := biosView{at: path}
	if v.current, err = c.get(ctx, path); err != nil {
		return v, sys, err
	}
	v.settings = v.current
	if at := v.current.link("@Redfish.Settings", "SettingsObject"); at != "" {
		if v.settings, err = c.get(ctx, at); err != nil {
			return v, sys, err
		}
		v.at = at
	}
	v.registry, err = c.attributeRegistry(ctx, v.current.str("AttributeRegistry"))
	return v, sys, err
}

func (v biosView) state(sys object) bmc.BIOSState {
	s := bmc.BIOSState{Current: attributes(v.current), Pending: bmc.Attributes{}}
	for name, value := range attributes(v.settings) {
		if value != nil && !equal(value, s.Current[name]) {
			s.Pending[name] = value
		}
	}
	for _, a := range v.registry.all() {
		if a.ReadOnly {
			s.ReadOnly = append(s.ReadOnly, a.AttributeName)
		}
	}
	for _, m := range quirks.BootModes() {
		value, ok := s.Current[m.Attribute].(string)
		if !ok || !v.registry.takes(m.Attribute, m.UEFI) || !v.registry.known() && value != m.UEFI && value != m.Legacy {
			continue
		}
		s.BootModeAttribute = m.Attribute
		s.BootModeValues = map[string]string{"uefi": m.UEFI, "legacy": m.Legacy}
		switch value {
		case m.UEFI:
			s.BootMode = "uefi"
		case m.Legacy:
			s.BootMode = "legacy"
		}
		break
	}
	if s.BootMode == "" {
		switch sys.str("Boot", "BootSourceOverrideMode") {
		case "UEFI":
			s.BootMode = "uefi"
		case "Legacy":
			s.BootMode = "legacy"
		}
	}
	return s
}

// attributes gives the values in Go's types: string, bool, int64, float64 or nil.
func attributes(o object) bmc.Attributes {
	out := bmc.Attributes{}
	for name, value := range o.obj("Attributes") {
		if strings.Contains(name, "@") {
			continue
		}
		switch value.(type) {
		case string, bool, nil, json.Number:
			out[name] = plain(value)
		}
	}
	return out
}

func plain(v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	if i, err := n.Int64(); err == nil {
		return i
	}
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	return f
}

func equal(a, b any) bool { return a == b || fmt.Sprint(a) == fmt.Sprint(b) && a != nil && b != nil }

// SetBIOS asks for those attributes that differ. They are pending until the host's next boot on most
// machines: read BIOS to know.
func (c *Controller) SetBIOS(ctx context.Context, attrs bmc.Attributes) error {
	op := "set BIOS attributes " + strings.Join(slices.Sorted(maps.Keys(attrs)), ", ")
	v, sys, err := c.biosView(ctx)
	if err != nil {
		return err
	}
	now := v.state(sys)
	want := bmc.Attributes{}
	for name, value := range attrs {
		is, ok := now.Current[name]
		switch {
		case !ok:
			return c.fail(bmc.ErrRejected, op, "the machine has no BIOS attribute "+name)
		case slices.Contains(now.ReadOnly, name):
			return c.fail(bmc.ErrRejected, op, name+" is read-only")
		}
		typed, err := v.registry.typed(name, value, is)
		if err != nil {
			return c.fail(bmc.ErrRejected, op, err.Error())
		}
		if next, pending := now.Pending[name]; pending {
			is = next
		}
		if !equal(is, typed) {
			want[name] = typed
		}
	}
	if len(want) == 0 {
		return nil
	}
	body := map[string]any{"Attributes": want}
	// Some machines (Dell) keep a change for ever unless they are told when to apply it.
	if slices.Contains(v.current.strs("@Redfish.Settings", "SupportedApplyTimes"), "OnReset") {
		body["@Redfish.SettingsApplyTime"] = map[string]string{"@odata.type": "#Settings.v1_3_0.PreferredApplyTime", "ApplyTime": "OnReset"}
	}
	if err := c.change(ctx, v.at, v.settings.etag(), body); err != nil {
		return err
	}
	return c.readBack(ctx, op, func() (bool, string, error) {
		v, sys, err := c.biosView(ctx)
		if err != nil {
			return false, "", err
		}
		s := v.state(sys)
		for name, value := range want {
			is := s.Current[name]
			if next, pending := s.Pending[name]; pending {
				is = next
			}
			if !equal(is, value) {
				return false, fmt.Sprintf("%s %v", name, is), nil
			}
		}
		return true, "", nil
	})
}

// attributeRegistry is DSP0268's AttributeRegistry: what the BIOS attributes may be.
type attributeRegistry struct {
	byName map[string]registryAttribute
}

type registryAttribute struct {
	AttributeName string
	Type          string
	ReadOnly      bool
	Value         []struct{ ValueName string }
}

// attributeRegistry reads a registry once. One that cannot be read is as good as none: it only helps.
func (c *Controller) attributeRegistry(ctx context.Context, name string) (*attributeRegistry, error) {
	if name == "" {
		return nil, nil
	}
	c.mu.Lock()
	r, ok := c.registry[name]
	c.mu.Unlock()
	if ok {
		return r, nil
	}
	r, err := c.readRegistry(ctx, name)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		r = nil
	}
	c.mu.Lock()
	c.registry[name] = r
	c.mu.Unlock()
	return r, nil
}

func (c *Controller) readRegistry(ctx context.Context, name string) (*attributeRegistry, error) {
	p, err := c.where(ctx)
	if err != nil {
		return nil, err
	}
	list, err := c.optional(ctx, p.root.link("Registries"))
	if err != nil {
		return nil, err
	}
	for _, l := range list.links("Members") {
		if !strings.EqualFold(l[strings.LastIndex(l, "/")+1:], name) {
			continue
		}
		file, err := c.get(ctx, l)
		if err != nil {
			return nil, err
		}
		for _, at := range file.objs("Location") {
			if lang := at.str("Language"); lang != "" && !strings.HasPrefix(strings.ToLower(lang), "en") {
				continue
			}
			res, err := c.conn.Get(ctx, at.str("Uri"), "")
			if err != nil {
				return nil, err
			}
			return parseRegistry(res.Body)
		}
	}
	return nil, nil
}

func parseRegistry(body []byte) (*attributeRegistry, error) {
	var doc struct {
		RegistryEntries struct{ Attributes []json.RawMessage }
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	r := &attributeRegistry{byName: map[string]registryAttribute{}}
	for _, raw := range doc.RegistryEntries.Attributes {
		var a registryAttribute
		if json.Unmarshal(raw, &a) == nil && a.AttributeName != "" {
			r.byName[a.AttributeName] = a
		}
	}
	return r, nil
}

func (r *attributeRegistry) known() bool { return r != nil && len(r.byName) > 0 }

func (r *attributeRegistry) all() []registryAttribute {
	if r == nil {
		return nil
	}
	out := slices.Collect(maps.Values(r.byName))
	slices.SortFunc(out, func(a, b registryAttribute) int { return strings.Compare(a.AttributeName, b.AttributeName) })
	return out
}

// takes tells whether an enumeration has the value; without a registry everything is possible.
func (r *attributeRegistry) takes(name, value string) bool {
	if r == nil {
		return true
	}
	a, ok := r.byName[name]
	if !ok || len(a.Value) == 0 {
		return true
	}
	for _, v := range a.Value {
		if v.ValueName == value {
			return true
		}
	}
	return false
}

// typed gives a value in the type that the registry says, or that the current value has.
func (r *attributeRegistry) typed(name string, value, current any) (any, error) {
	kind := ""
	if r != nil {
		kind = r.byName[name].Type
	}
	if kind == "" {
		switch current.(type) {
		case int64, float64:
			kind = "Integer"
		case bool:
			kind = "Boolean"
		}
	}
	text := fmt.Sprint(plain(value))
	switch kind {
	case "Integer":
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i, nil
		}
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f, nil
		}
		return nil, fmt.Errorf("%s is a number, not %q", name, text)
	case "Boolean":
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("%s is true or false, not %q", name, text)
		}
		return b, nil
	case "Enumeration":
		if !r.takes(name, text) {
			var have []string
			for _, v := range r.byName[name].Value {
				have = append(have, v.ValueName)
			}
			return nil, fmt.Errorf("%s is one of %s, not %q", name, strings.Join(have, ", "), text)
		}
		return text, nil
	case "":
		if s, ok := value.(string); ok {
			return s, nil
		}
	}
	return text, nil
}
