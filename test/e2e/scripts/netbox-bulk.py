"""Makes SERVERS planned servers in site "bulk", with Django's bulk_create, which takes seconds where
the REST API takes minutes. Run inside `netbox nbshell`.

Each server has a BMC port, seven more interfaces with MAC addresses, an out-of-band address and two
planned cables to the switch of its rack. IDs start at a million, as in an old NetBox, so that lists of
them are as long as they get.
"""
import os

from django.contrib.contenttypes.models import ContentType

from dcim.models import (
    Cable, CableTermination, Device, DeviceRole, DeviceType, Interface, MACAddress, Manufacturer, Rack, Site,
)
from ipam.models import IPAddress, Prefix, Role

servers = int(os.environ['SERVERS'])
first, per_rack, ports = 1_000_000, 40, 8

site = Site.objects.create(name='Bulk', slug='bulk', status='active')
maker = Manufacturer.objects.create(name='Bulk', slug='bulk')
kind = DeviceType.objects.create(manufacturer=maker, model='B1', slug='bulk-b1', u_height=1, is_full_depth=False)
role = DeviceRole.objects.create(name='Bulk server', slug='bulk-server')
primary, _ = Role.objects.get_or_create(slug='primary', defaults={'name': 'primary'})
Prefix(prefix='10.200.0.0/16', status='active', role=primary, scope=site).save()

racks = Rack.objects.bulk_create([
    Rack(name=f'bulk-r{n:02d}', site=site, u_height=48) for n in range((servers + per_rack - 1) // per_rack)])
switches = Device.objects.bulk_create([
    Device(name=f'bulk-sw-{n:02d}', site=site, rack=rack, device_type=kind, role=role, status='active', position=48, face='rear')
    for n, rack in enumerate(racks)])
devices = Device.objects.bulk_create([
    Device(id=first + n, name=f'bulk-server-{n:06d}.ams', serial=f'BULK{n:06d}', site=site, rack=racks[n // per_rack],
           device_type=kind, role=role, status='planned', position=n % per_rack + 1, face='front')
    for n in range(servers)])


def port(device, name, **more):
    return Interface(device=device, name=name, _site=site, _rack=device.rack, type='25gbase-x-sfp28', enabled=True, **more)


interfaces = Interface.objects.bulk_create([
    port(d, f'eth{i}' if i else 'bmc', id=first + n * ports + i, mgmt_only=i == 0)
    for n, d in enumerate(devices) for i in range(ports)], batch_size=2000)
uplinks = Interface.objects.bulk_create([port(s, f'Ethernet{i}') for s in switches for i in range(2 * per_rack)], batch_size=2000)

of_interface = ContentType.objects.get_for_model(Interface)
macs = MACAddress.objects.bulk_create([
    MACAddress(mac_address=f'02:0B:00:{n >> 16 & 255:02X}:{n >> 8 & 255:02X}:{n & 255:02X}', assigned_object_type=of_interface,
               assigned_object_id=i.id) for n, i in enumerate(interfaces)], batch_size=2000)
for i, mac in zip(interfaces, macs):
    i.primary_mac_address = mac
addresses = IPAddress.objects.bulk_create([
    IPAddress(address=f'10.100.{n // 250}.{n % 250 + 1}/16', status='active', assigned_object_type=of_interface,
              assigned_object_id=interfaces[n * ports].id) for n in range(servers)], batch_size=2000)
for d, address in zip(devices, addresses):
    d.oob_ip = address
Device.objects.bulk_update(devices, ['oob_ip'], batch_size=1000)

cables, ends = [], []
for n in range(servers):
    for i in range(2):
        a = interfaces[n * ports + 1 + i]
        b = uplinks[n // per_rack * 2 * per_rack + n % per_rack * 2 + i]
        cables.append(Cable(status='planned', label=f'bulk-{n}-{i}'))
        ends.append((a, b))
Cable.objects.bulk_create(cables, batch_size=2000)
terminations = []
for cable, (a, b) in zip(cables, ends):
    for end, i in (('A', a), ('B', b)):
        i.cable, i.cable_end = cable, end
        terminations.append(CableTermination(
            cable=cable, cable_end=end, termination_type=of_interface, termination_id=i.id, _device=i.device, _rack=i.device.rack, _site=site))
CableTermination.objects.bulk_create(terminations, batch_size=2000)
Interface.objects.bulk_update(interfaces, ['primary_mac_address', 'cable', 'cable_end'], batch_size=1000)
Interface.objects.bulk_update(uplinks, ['cable', 'cable_end'], batch_size=1000)
print(f'{servers} servers, {len(interfaces)} interfaces, {len(cables)} cables')
