package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// biosAttr is one BIOS attribute of a flavour.
type biosAttr struct {
	name     string
	kind     string // Enumeration, Integer, String, Boolean
	value    any    // of the factory; integers are float64, as JSON has them
	values   []string
	low      int
	high     int
	readOnly bool
	// needs and equals: the attribute can be written only while another has a value.
	needs, equals string
}

func enum(name, value string, values ...string) biosAttr {
	return biosAttr{name: name, kind: "Enumeration", value: value, values: values}
}

func integer(name string, value, low, high int) biosAttr {
	return biosAttr{name: name, kind: "Integer", value: float64(value), low: low, high: high}
}

func boolean(name string, value bool) biosAttr {
	return biosAttr{name: name, kind: "Boolean", value: value}
}

func text(name, value string) biosAttr {
	return biosAttr{name: name, kind: "String", value: value, high: 63}
}

func (a biosAttr) when(needs, equals string) biosAttr { a.needs, a.equals = needs, equals; return a }
func (a biosAttr) fixed() biosAttr                    { a.readOnly = true; return a }

// accepts tells why a value is refused; empty: it is fine.
func (a biosAttr) accepts(v any) string {
	switch a.kind {
	case "Enumeration":
		if s, isText := v.(string); !isText || !slices.Contains(a.values, s) {
			return "use one of " + strings.Join(a.values, ", ")
		}
	case "Integer":
		if n, isNumber := v.(float64); !isNumber || n != float64(int(n)) || int(n) < a.low || int(n) > a.high {
			return fmt.Sprintf("use a whole number from %d to %d", a.low, a.high)
		}
	case "Boolean":
		if _, isBool := v.(bool); !isBool {
			return "use true or false"
		}
	case "String":
		if s, isText := v.(string); !isText || len(s) > a.high {
			return fmt.Sprintf("use text of at most %d characters", a.high)
		}
	}
	return ""
}

// writable tells whether an attribute may be written now. What counts is what the host runs with,
// not what waits for its reboot: some settings need two rounds.
func (a biosAttr) writable(current map[string]any) bool {
	return !a.readOnly && (a.needs == "" || current[a.needs] == a.equals)
}

func (f *flavour) biosAttr(name string) (biosAttr, bool) {
	i := slices.IndexFunc(f.bios, func(a biosAttr) bool { return a.name == name })
	if i < 0 {
		return biosAttr{}, false
	}
	return f.bios[i], true
}

// bootMode gives UEFI or Legacy from the attributes.
func (f *flavour) bootMode(attrs map[string]any) string {
	if attrs[f.bootModeAttr] == f.bootModeLegacy {
		return "Legacy"
	}
	return "UEFI"
}

// setBIOS is PATCH of the settings object.
func setBIOS(c *call) *answer {
	attrs, isObject := c.body["Attributes"].(obj)
	if !isObject || len(attrs) == 0 {
		return failure(400, "PropertyMissing", "The property %s is a required property and must be included in the request.", "Attributes").about("#/Attributes")
	}
	st := &c.m.st
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		pointer := "#/Attributes/" + name
		a, known := c.f.biosAttr(name)
		switch {
		case !known:
			return failure(400, "PropertyUnknown", "The property %s is not in the list of valid properties for the resource.", name).about(pointer)
		case !a.writable(st.BIOS):
			return failure(400, "PropertyNotWritable", "The property %s is a read only property and cannot be assigned a value.", name).about(pointer)
		}
		if why := a.accepts(attrs[name]); why != "" {
			return failure(400, "PropertyValueNotInList", "The value '%s' for the property %s is not in the list of acceptable values: %s.",
				short(attrs[name]), name, why).about(pointer)
		}
	}
	applyTime := "OnReset"
	if c.f.needsApplyTime {
		applyTime = ""
	}
	if t, given := c.body["@Redfish.SettingsApplyTime"].(obj); given {
		applyTime, _ = t["ApplyTime"].(string)
		if applyTime != "OnReset" {
			return badValue("@Redfish.SettingsApplyTime/ApplyTime", applyTime, "use OnReset")
		}
	}
	if st.Pending == nil {
		st.Pending = map[string]any{}
	}
	for name, v := range attrs {
		if st.Pending[name] = v; v == st.BIOS[name] {
			delete(st.Pending, name)
		}
	}
	st.Scheduled = st.Scheduled && len(st.Pending) > 0 || applyTime == "OnReset"
	c.m.effect(c.now, EffectBIOSPending, pairs(attrs))
	if applyTime == "OnReset" && c.f.biosJobs {
		return c.scheduleBIOS()
	}
	return c.f.patched(c)
}

// scheduleBIOS makes the job that applies pending settings, or finds the one that waits already.
func (c *call) scheduleBIOS() *answer {
	st := &c.m.st
	st.Scheduled = true
	for i := range st.Tasks {
		if t := &st.Tasks[i]; t.Kind == taskBIOS && !t.done() {
			return c.accepted(t)
		}
	}
	st.Tasks = append(st.Tasks, task{
		ID: c.f.taskID(st.next()), Kind: taskBIOS, Name: "ConfigBIOS:BIOS.Setup.1-1", State: "Pending",
		Start: c.now, Message: "Task successfully scheduled.",
	})
	return c.accepted(&st.Tasks[len(st.Tasks)-1])
}

func (m *Machine) applyBIOS(t time.Time) {
	st := &m.st
	if !st.Scheduled || len(st.Pending) == 0 {
		st.Scheduled = false
		return
	}
	for name, v := range st.Pending {
		st.BIOS[name] = v
	}
	m.effect(t, EffectBIOSApplied, pairs(st.Pending))
	m.log(st, t, "OK", "BIOSSettingsApplied", "BIOS settings were applied.")
	st.Pending, st.Scheduled = nil, false
	if st.Override.Enabled == "Disabled" {
		st.Override.Mode = m.f.bootMode(st.BIOS)
	}
	for i := range st.Tasks {
		if k := &st.Tasks[i]; k.Kind == taskBIOS && !k.done() && !k.Stuck {
			k.State, k.End, k.Message = "Completed", t, "Job completed successfully."
		}
	}
}

// pairs writes attributes as name=value, sorted.
func pairs(attrs map[string]any) string {
	out := make([]string, 0, len(attrs))
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		out = append(out, fmt.Sprintf("%s=%v", name, attrs[name]))
	}
	return strings.Join(out, " ")
}

// pendingView is what the settings object shows: on most flavours all attributes as they will be,
// on some only what waits.
func (c *call) pendingView() obj {
	out := obj{}
	if !c.f.pendingOnly {
		maps.Copy(out, c.m.st.BIOS)
	}
	maps.Copy(out, c.m.st.Pending)
	return out
}

// registry describes the attributes (DSP0268 AttributeRegistry).
func biosRegistry(c *call) obj {
	var attrs, deps []obj
	for i, a := range c.f.bios {
		e := obj{
			"AttributeName": a.name, "DisplayName": a.name, "Type": a.kind, "ReadOnly": a.readOnly,
			"DefaultValue": a.value, "ResetRequired": true, "DisplayOrder": i, "MenuPath": "./",
			"WriteOnly": false, "HelpText": a.name + " of the system.",
		}
		switch a.kind {
		case "Enumeration":
			var values []obj
			for _, v := range a.values {
				values = append(values, obj{"ValueName": v, "ValueDisplayName": v})
			}
			e["Value"] = values
		case "Integer":
			e["LowerBound"], e["UpperBound"], e["ScalarIncrement"] = a.low, a.high, 1
		case "String":
			e["MinLength"], e["MaxLength"] = 0, a.high
		}
		attrs = append(attrs, e)
		if a.needs != "" {
			deps = append(deps, obj{
				"Type": "Map", "DependencyFor": a.name,
				"Dependency": obj{
					"MapFrom": []obj{{
						"MapFromAttribute": a.needs, "MapFromProperty": "CurrentValue",
						"MapFromCondition": "NEQ", "MapFromValue": a.equals,
					}},
					"MapToAttribute": a.name, "MapToProperty": "ReadOnly", "MapToValue": true,
				},
			})
		}
	}
	if deps == nil {
		deps = []obj{}
	}
	id := c.f.registryID
	return obj{
		"@odata.id": c.path, "@odata.type": "#AttributeRegistry.v1_3_8.AttributeRegistry", "Id": id, "Name": "BIOS Attribute Registry",
		"Language": "en", "OwningEntity": "Cagenut", "RegistryVersion": "1.0.0",
		"SupportedSystems": []obj{{"ProductName": c.f.model, "SystemId": word(c.f.model, "system", 4)}},
		"RegistryEntries":  obj{"Attributes": attrs, "Dependencies": deps},
	}
}
