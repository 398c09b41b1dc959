package ipmi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/command/storage"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/cagenut/cagenut/bmc"
)

// maxEntries bounds how much of a log is read; real ones hold up to a few thousand.
const maxEntries = 4096

// Identify reads the FRU of the BMC. The product's serial is the machine's, else the chassis', else
// the board's.
func (c *Controller) Identify(ctx context.Context) (bmc.Identity, error) {
	inv, why, err := c.read(ctx, bmc.ScopeIdentity)
	if err != nil {
		return bmc.Identity{}, err
	}
	// A FRU that could not be read says nothing of who the machine is, nor that it is another. A BMC
	// that has no FRU says that it has none.
	if why != nil && !errors.Is(why, bmc.ErrUnsupported) {
		return bmc.Identity{}, why
	}
	return inv.Identity, nil
}

// Read gives what the BMC knows: FRUs; with hardware also sensors; with complete also users and SEL.
func (c *Controller) Read(ctx context.Context, scope bmc.Scope) (*bmc.Inventory, error) {
	inv, _, err := c.read(ctx, scope)
	return inv, err
}

// read also tells why the FRU of the BMC, which names the machine, could not be read.
func (c *Controller) read(ctx context.Context, scope bmc.Scope) (inv *bmc.Inventory, why, err error) {
	start := time.Now()
	inv = empty(scope, "ipmi://"+c.host, c.cfg.Clock.Now().UTC())
	device, err := c.device(ctx)
	if err != nil {
		return inv, nil, err
	}
	inv.Identity.Firmware = firmware(device)
	inv.Managers = append(inv.Managers, bmc.Manager{Part: bmc.Part{ID: "bmc", URI: "mc/0x20"}, Type: "BMC", Firmware: inv.Identity.Firmware})
	inv.Firmware = append(inv.Firmware, bmc.FirmwareComponent{ID: "bmc", Name: "BMC", Version: inv.Identity.Firmware, URI: "mc/0x20"})
	system := bmc.System{Part: bmc.Part{ID: "system", URI: "chassis"}}
	if system.PowerState, err = c.PowerState(ctx); err != nil {
		unread(inv, "chassis", err)
	}
	fru, why := c.fru(ctx, 0)
	if why != nil {
		unread(inv, "fru/0", why)
	} else {
		identify(inv, &system, fru)
	}
	inv.Systems = append(inv.Systems, system)
	if scope != bmc.ScopeIdentity {
		c.readHardware(ctx, inv)
	}
	if scope == bmc.ScopeComplete {
		if inv.Accounts, err = c.Accounts(ctx); err != nil {
			inv.Accounts = []bmc.Account{}
			unread(inv, "users", err)
		}
		if inv.Events, err = c.Events(ctx, maxEntries); err != nil {
			inv.Events = []bmc.Event{}
			unread(inv, "sel", err)
		}
	}
	inv.Complete = len(inv.Unread) == 0
	inv.Requests.WallMS = float64(time.Since(start).Microseconds()) / 1000
	inv.Requests.InFlight = 1
	return inv, why, nil
}

func empty(scope bmc.Scope, url string, now time.Time) *bmc.Inventory {
	return &bmc.Inventory{
		Schema: bmc.InventorySchema, URL: url, Protocol: bmc.IPMI, ReadAt: now, Scope: scope,
		Service: bmc.Service{Quirks: []string{}},
		Systems: []bmc.System{}, Chassis: []bmc.Chassis{}, Managers: []bmc.Manager{}, Processors: []bmc.Processor{},
		Memory: []bmc.Memory{}, Storage: []bmc.StorageController{}, Drives: []bmc.Drive{}, Volumes: []bmc.Volume{},
		NetworkInterfaces: []bmc.NetworkInterface{}, PCIeDevices: []bmc.PCIeDevice{}, PowerSupplies: []bmc.PowerSupply{},
		Fans: []bmc.Fan{}, Temperatures: []bmc.Temperature{}, Firmware: []bmc.FirmwareComponent{}, Accounts: []bmc.Account{},
		Protocols: []bmc.NetworkProtocol{}, Certificates: []bmc.Certificate{}, Events: []bmc.Event{},
		Components: []bmc.Component{}, Unread: []bmc.Unread{},
	}
}

// unread notes what could not be read, with the reason codes of the Redfish reader.
func unread(inv *bmc.Inventory, uri string, err error) {
	reason := "rejected"
	for kind, r := range map[error]string{
		bmc.ErrUnsupported: "unsupported", bmc.ErrBusy: "busy", bmc.ErrServer: "server_error",
		bmc.ErrUnreachable: "unreachable", bmc.ErrIncomplete: "cancelled",
	} {
		if errors.Is(err, kind) {
			reason = r
		}
	}
	inv.Unread = append(inv.Unread, bmc.Unread{URI: uri, Reason: reason, Detail: err.Error()})
}

func (c *Controller) device(ctx context.Context) (d *app.GetDeviceIDResponse, err error) {
	err = c.do(ctx, "Get Device ID", func(ctx context.Context) error {
		d, err = c.c.GetDeviceID(ctx)
		return err
	})
	return d, err
}

// firmware gives the version as ipmitool does. The client has decoded the minor number's BCD.
func firmware(d *app.GetDeviceIDResponse) string {
	return fmt.Sprintf("%d.%02d", d.MajorFirmwareRevision&0x7f, d.MinorFirmwareRevision)
}

func (c *Controller) fru(ctx context.Context, id uint8) (f *types.FRU, err error) {
	err = c.do(ctx, fmt.Sprintf("Read FRU Data %d", id), func(ctx context.Context) error {
		f, err = c.c.GetFRU(ctx, id, "")
		if r, ok := types.IsResponseError(err); ok && r.CompletionCode() == 0x81 { // IPMI 2.0 34.2
			return &bmc.Error{Kind: bmc.ErrBusy, Detail: "the FRU device is busy"}
		}
		if err == nil && f.DeviceNotPresent && f.DeviceNotPresentReason == "Timeout" { // the client's word for code C3h
			return &bmc.Error{Kind: bmc.ErrServer, Detail: "the FRU device gave the BMC no answer in time"}
		}
		return err
	})
	return f, err
}

func field(kind types.TypeLength, raw []byte) string {
	return strings.TrimSpace(strings.Trim(types.FRUFieldString(kind, raw), "\x00"))
}

// identify fills in who the machine is, from the FRU of its BMC.
func identify(inv *bmc.Inventory, system *bmc.System, fru *types.FRU) {
	id := &inv.Identity
	id.OtherSerials = map[string]string{}
	take := func(source, serial string) {
		switch {
		case serial == "":
		case id.Serial == "":
			id.Serial, id.SerialSource = serial, source
		case serial != id.Serial:
			id.OtherSerials[source] = serial
		}
	}
	if p := fru.ProductInfoArea; p != nil {
		take("FRU.Product.SerialNumber", field(p.SerialNumberTypeLength, p.SerialNumber))
		system.Serial = field(p.SerialNumberTypeLength, p.SerialNumber)
		id.Manufacturer, id.Model = field(p.ManufacturerTypeLength, p.Manufacturer), field(p.NameTypeLength, p.Name)
		system.PartNumber, system.AssetTag = field(p.PartModelTypeLength, p.PartModel), field(p.AssetTagTypeLength, p.AssetTag)
	}
	if a := fru.ChassisInfoArea; a != nil {
		take("FRU.Chassis.SerialNumber", field(a.SerialNumberTypeLength, a.SerialNumber))
		inv.Chassis = append(inv.Chassis, bmc.Chassis{
			Part: bmc.Part{ID: "chassis", Serial: field(a.SerialNumberTypeLength, a.SerialNumber),
				PartNumber: field(a.PartNumberTypeLength, a.PartNumber), URI: "fru/0/chassis"},
			Type: a.ChassisType.String(), Systems: []string{system.ID},
		})
	}
	if b := fru.BoardInfoArea; b != nil {
		take("FRU.Board.SerialNumber", field(b.SerialNumberTypeLength, b.SerialNumber))
		id.Manufacturer = cmp.Or(id.Manufacturer, field(b.ManufacturerTypeLength, b.Manufacturer))
		id.Model = cmp.Or(id.Model, field(b.ProductNameTypeLength, b.ProductName))
		inv.Components = append(inv.Components, board("fru/0/board", b))
	}
	system.Manufacturer, system.Model = id.Manufacturer, id.Model
	system.Serial = cmp.Or(system.Serial, id.Serial)
}

func board(uri string, b *types.FRUBoardInfoArea) bmc.Component {
	return bmc.Component{Type: "FRU.Board", Part: bmc.Part{
		ID: uri, URI: uri, Name: field(b.ProductNameTypeLength, b.ProductName),
		Manufacturer: field(b.ManufacturerTypeLength, b.Manufacturer), Model: field(b.ProductNameTypeLength, b.ProductName),
		PartNumber: field(b.PartNumberTypeLength, b.PartNumber), Serial: field(b.SerialNumberTypeLength, b.SerialNumber),
	}}
}

// readHardware adds further FRUs and the sensors.
func (c *Controller) readHardware(ctx context.Context, inv *bmc.Inventory) {
	var frus []*types.FRU
	if err := c.do(ctx, "read all FRUs", func(ctx context.Context) (err error) {
		frus, err = c.c.GetFRUs(ctx)
		return err
	}); err != nil {
		unread(inv, "fru", err)
	}
	for _, f := range frus {
		if f.DeviceID == 0 || !f.Present() {
			continue
		}
		uri := fmt.Sprintf("fru/%d", f.DeviceID)
		if f.BoardInfoArea != nil {
			b := board(uri+"/board", f.BoardInfoArea)
			b.Name = cmp.Or(strings.Trim(f.DeviceName, "\x00 "), b.Name)
			inv.Components = append(inv.Components, b)
		}
		if p := f.ProductInfoArea; p != nil {
			inv.Components = append(inv.Components, bmc.Component{Type: "FRU.Product", Part: bmc.Part{
				ID: uri + "/product", URI: uri + "/product", Name: strings.Trim(f.DeviceName, "\x00 "),
				Manufacturer: field(p.ManufacturerTypeLength, p.Manufacturer), Model: field(p.NameTypeLength, p.Name),
				PartNumber: field(p.PartModelTypeLength, p.PartModel), Serial: field(p.SerialNumberTypeLength, p.SerialNumber),
			}})
		}
	}
	var sensors []*types.Sensor
	if err := c.do(ctx, "read the sensors", func(ctx context.Context) (err error) {
		sensors, err = c.c.GetSensors(ctx)
		return err
	}); err != nil {
		unread(inv, "sensors", err)
	}
	for _, s := range sensors {
		addSensor(inv, s)
	}
}

func addSensor(inv *bmc.Inventory, s *types.Sensor) {
	part := bmc.Part{ID: fmt.Sprint(s.Number), Name: strings.Trim(s.Name, "\x00 "), URI: fmt.Sprintf("sensor/%d", s.Number), State: "Enabled"}
	readable := s.HasAnalogReading && !s.NotPresent && !s.ScanningDisabled && s.ReadingAvailable
	if s.NotPresent || s.ScanningDisabled {
		part.State = "Absent"
	}
	switch s.SensorType {
	case types.SensorTypeTemperature:
		t := bmc.Temperature{Part: part}
		if readable {
			t.Celsius = &s.Value
		}
		if s.IsThreshold() && s.Threshold.UCR_Raw != 0 {
			t.Critical = &s.Threshold.UCR
		}
		inv.Temperatures = append(inv.Temperatures, t)
	case types.SensorTypeFan:
		f := bmc.Fan{Part: part, Units: "RPM"}
		if s.SensorUnit.Percentage {
			f.Units = "Percent"
		}
		if readable {
			f.Reading = s.Value
		}
		inv.Fans = append(inv.Fans, f)
	case types.SensorTypePowerSupply:
		inv.PowerSupplies = append(inv.PowerSupplies, bmc.PowerSupply{Part: part})
	}
}

// Firmware gives the BMC's own version: IPMI knows no other.
func (c *Controller) Firmware(ctx context.Context) ([]bmc.FirmwareComponent, error) {
	d, err := c.device(ctx)
	if err != nil {
		return nil, err
	}
	return []bmc.FirmwareComponent{{ID: "bmc", Name: "BMC", Version: firmware(d), URI: "mc/0x20"}}, nil
}

// Events reads the SEL. Its records are linked forwards only, so it is read from where the newest
// should begin, or from the start when its numbers have holes.
func (c *Controller) Events(ctx context.Context, limit int) ([]bmc.Event, error) {
	events := []bmc.Event{}
	if limit <= 0 {
		return events, ctx.Err()
	}
	var info *storage.GetSELInfoResponse
	if err := c.do(ctx, "Get SEL Info", func(ctx context.Context) (err error) {
		info, err = c.c.GetSELInfo(ctx)
		return err
	}); err != nil || info.Entries == 0 {
		return events, err
	}
	last, _, err := c.entry(ctx, 0xffff)
	if err != nil {
		return nil, err
	}
	want := min(limit, int(info.Entries), maxEntries)
	from := uint16(0)
	if int(last.RecordID) > want {
		from = last.RecordID - uint16(want) + 1
	}
	if events, err = c.walk(ctx, from); err != nil && from == 0 {
		return nil, err
	}
	if from != 0 && (err != nil || len(events) < want) {
		if events, err = c.walk(ctx, 0); err != nil {
			return nil, err
		}
	}
	slices.Reverse(events)
	slices.SortStableFunc(events, func(a, b bmc.Event) int { return cmp.Compare(b.Time, a.Time) })
	return events[:min(limit, len(events))], nil
}

func (c *Controller) walk(ctx context.Context, from uint16) ([]bmc.Event, error) {
	events := []bmc.Event{}
	for id := from; len(events) < maxEntries; {
		e, next, err := c.entry(ctx, id)
		if err != nil {
			return nil, err
		}
		events = append(events, event(e))
		if next == 0xffff || next == id {
			break
		}
		id = next
	}
	return events, nil
}

func (c *Controller) entry(ctx context.Context, id uint16) (e *types.SEL, next uint16, err error) {
	err = c.do(ctx, fmt.Sprintf("Get SEL Entry %#04x", id), func(ctx context.Context) error {
		// Not through the client's GetSELEntry, which asks for the SEL's info each time.
		answer := &storage.GetSELEntryResponse{}
		if err := c.c.Exchange(ctx, &storage.GetSELEntryRequest{RecordID: id, ReadBytes: 0xff}, answer); err != nil {
			return err
		}
		next = answer.NextRecordID
		e, err = types.ParseSEL(answer.Data)
		if err != nil {
			return &bmc.Error{Kind: bmc.ErrMalformed, Err: err}
		}
		return nil
	})
	return e, next, err
}

func event(e *types.SEL) bmc.Event {
	out := bmc.Event{ID: fmt.Sprint(e.RecordID), Log: "sel", URI: fmt.Sprintf("sel/%d", e.RecordID), Message: "OEM record"}
	switch {
	case e.Standard != nil:
		s := e.Standard
		out.Time = s.Timestamp.UTC().Format(time.RFC3339)
		out.Code = s.SensorType.String()
		out.Message = fmt.Sprintf("%s sensor %d: %s (%s)", s.SensorType, s.SensorNumber, s.EventString(), s.EventDir)
		out.Severity = severity(s.EventSeverity())
	case e.OEMTimestamped != nil:
		out.Time = e.OEMTimestamped.Timestamp.UTC().Format(time.RFC3339)
		out.Message = fmt.Sprintf("OEM record of manufacturer %d: %x", e.OEMTimestamped.ManufacturerID, e.OEMTimestamped.OEMDefined)
	case e.OEMNonTimestamped != nil:
		out.Message = fmt.Sprintf("OEM record: %x", e.OEMNonTimestamped.OEM)
	}
	return out
}

// severity translates to DSP0268's words.
func severity(s types.EventSeverity) string {
	switch s {
	case types.EventSeverityCritical:
		return "Critical"
	case types.EventSeverityWarning, types.EventSeverityDegraded:
		return "Warning"
	case types.EventSeverityInfo, types.EventSeverityOK:
		return "OK"
	}
	return ""
}
