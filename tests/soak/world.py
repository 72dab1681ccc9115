# SPDX-License-Identifier: Apache-2.0
"""The machines around the switch, what they are to be, and so who may reach whom.

    k0 k1 k2 (veth)    g0 g1 g2 (vhost-user)      u0, u1: trunks; behind them o0..o3, which may move
       |                  |                         |   |
    ---+------------------+-------------------------+---+---   VLANs 10 and 20
    h0, h1: hosts with an IP stack, which open TCP connections

The world knows the truth that the switch is held to.  A change is made within `changing()`: cells that will differ
are not judged until the switch has confirmed the change.
"""

import contextlib
import itertools
import os

from cordon import unique, wait_for
from host import ip_batch, run

SERVICES = 2
SERVICE_PORT = 7000
ZONES = ("red", "green", "blue")
OUTSIDE = {"inet": ("198.51.100.0/24", "fd51::/64"), "partner": ("203.0.113.0/24", "fd52::/64")}
VLANS = {"lan10": 10, "lan20": 20}
WAIT_SECONDS = 60


class Policy:
    """Which zone may open connections to which service of which zone.  All else is denied, each in its own way."""

    def __init__(self, dice, share):
        names = (*ZONES, *OUTSIDE)
        self.allowed = {(source, destination, service)
                        for source, destination, service in itertools.product(names, names, range(SERVICES))
                        if dice.random() < share}
        self.denied = {key: dice.choice(("deny", "reject"))
                       for key in itertools.product(names, names, range(SERVICES))
                       if key not in self.allowed and dice.random() < 0.3}

    def document(self):
        lines = ["zones:", '  tcp: {match: "zone=tcp"}']
        lines += [f'  {zone}: {{match: "zone={zone}"}}' for zone in ZONES]
        lines += [f'  {zone}: {{cidrs: ["{prefixes[0]}", "{prefixes[1]}"]}}' for zone, prefixes in OUTSIDE.items()]
        lines += ["policies:", "  - id: soak", "    mode: enforce", "    rules:",
                  "      - {id: tcp, from: tcp, to: tcp, service: tcp/80, action: allow, log: session}"]
        rules = [(key, "allow", "session") for key in sorted(self.allowed)]
        rules += [(key, action, "denied") for key, action in sorted(self.denied.items())]
        for number, ((source, destination, service), action, log) in enumerate(rules):
            lines.append(f"      - {{id: r{number}, from: {source}, to: {destination}, "
                         f"service: udp/{SERVICE_PORT + service}, action: {action}, log: {log}}}")
        lines.append("baseline: {between_zones: deny, within_zone: deny, log: denied}")
        return "\n".join(lines) + "\n"


class Wire:
    """What is plugged into the switch, with the port for it."""

    def __init__(self, name):
        self.name = name
        self.plugged = False  # Its port is in the database.


class KernelWire(Wire):
    """A veth of which one end is the switch's, and the other a namespace's that has no addresses of its own."""

    kind = "kernel"

    def __init__(self, name, stations, trunk=False):
        super().__init__(name)
        self.namespace, self.device, self.trunk = unique("sk-"), unique("sk"), trunk
        ip_batch([f"netns add {self.namespace}",
                  f"link add {self.device} type veth peer name eth0 netns {self.namespace}"])
        with open(f"/proc/sys/net/ipv6/conf/{self.device}/disable_ipv6", "w", encoding="ascii") as file:
            file.write("1")
        run("ip", "netns", "exec", self.namespace, "sysctl", "-q", "net.ipv6.conf.all.disable_ipv6=1",
            "net.ipv6.conf.default.disable_ipv6=1")
        ip_batch([f"link set {self.device} up"])
        run("ip", "-netns", self.namespace, "link", "set", "eth0", "up")
        run("ip", "netns", "exec", self.namespace, "ethtool", "-K", "eth0", "rxvlan", "off", "txvlan", "off",
            check=False)
        stations.tell("kernel", name, f"/run/netns/{self.namespace}", "eth0", "trunk" if trunk else "access")

    def port_options(self):
        return {"type": "kernel", "device": self.device}

    def close(self):
        run("ip", "link", "delete", self.device, check=False)
        run("ip", "netns", "delete", self.namespace, check=False)


class GuestWire(Wire):
    """A guest's vhost-user socket."""

    kind = "guest"
    trunk = False

    def __init__(self, name, stations, directory, queues=1):
        super().__init__(name)
        self.stations, self.queues = stations, queues
        self.path = os.path.join(directory, f"{name}.sock")
        self.start()

    def start(self):
        self.stations.tell("guest", self.name, self.path, self.queues)

    def die(self):
        self.stations.tell("unwire", self.name)

    def port_options(self):
        return {"type": "vhost", "socket": self.path}

    def close(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class Endpoint:
    """A machine: a vNIC's, or one outside."""

    def __init__(self, number, name, wire, zone, network, ipv4, ipv6):
        self.number, self.name, self.wire, self.zone, self.network = number, name, wire, zone, network
        self.ipv4, self.ipv6 = ipv4, ipv6
        self.mac = f"02:50:00:00:00:{number:02x}"
        self.outside = zone in OUTSIDE

    @property
    def vlan(self):
        return VLANS[self.network]


class World:
    def __init__(self, switch, stations, dice, journal):
        self.switch, self.stations, self.dice, self.journal = switch, stations, dice, journal
        self.policy = None
        self.wires, self.endpoints = {}, []
        self.kernel_ports = self.guest_ports = 0

    # --- Making it ---------------------------------------------------------------------------------------------

    def build(self):
        for name, vlan in VLANS.items():
            self.switch.add_network(name, vlan)
        for i in range(2):
            self._add_uplink(f"u{i}")
        for i in range(3):
            self._add_vnic(KernelWire(f"k{i}", self.stations))
        for i in range(3):
            self._add_vnic(GuestWire(f"g{i}", self.stations, self.switch.directory, queues=2 if i == 2 else 1))
        for i in range(4):
            self._add_outside(i)
        self.show_cells(self.truth())

    def _add_uplink(self, name):
        self.wires[name] = KernelWire(name, self.stations, trunk=True)
        self.plug(name)

    def _add_vnic(self, wire):
        self.wires[wire.name] = wire
        number = len(self.endpoints)
        network = "lan10" if number % 3 else "lan20"
        self.endpoints.append(Endpoint(number, wire.name, wire, self.dice.choice(ZONES), network,
                                       f"10.9.0.{number + 1}", f"fd09::{number + 1:x}"))
        self.plug(wire.name)

    def _add_outside(self, i):
        number = len(self.endpoints)
        zone = ("inet", "partner")[i % 2]
        prefix4, prefix6 = (text.split("/")[0] for text in OUTSIDE[zone])
        self.endpoints.append(Endpoint(number, f"o{i}", self.wires[f"u{i % 2}"], zone, "lan10" if i < 2 else "lan20",
                                       prefix4[:-1] + str(number + 1), f"{prefix6}{number + 1:x}"))
        self.place(self.endpoints[-1])

    def close(self):
        for wire in self.wires.values():
            wire.close()

    # --- The truth ---------------------------------------------------------------------------------------------

    def vnics(self):
        return [endpoint for endpoint in self.endpoints if not endpoint.outside]

    def outsiders(self):
        return [endpoint for endpoint in self.endpoints if endpoint.outside]

    def may_reach(self, source, destination, service):
        """May one open connections to the other's service?"""
        if source is destination or (source.outside and destination.outside):
            return False
        return (self.policy is not None and source.wire.plugged and destination.wire.plugged
                and source.vlan == destination.vlan and (source.zone, destination.zone, service) in self.policy.allowed)

    def truth(self):
        return "".join("A" if self.may_reach(source, destination, service) else "D"
                       for service in range(SERVICES) for source in self.endpoints for destination in self.endpoints)

    def show_cells(self, cells):
        if self.endpoints:
            self.stations.tell("cells", len(self.endpoints), cells)

    @contextlib.contextmanager
    def changing(self):
        """Within, the attributes are changed first, then the switch: `with changing() as commit: ...; commit(); ...`.
        When the block ends, the switch does what the attributes say."""
        before = self.truth()

        def commit():
            self.show_cells("".join(old if old == new else "?" for old, new in zip(before, self.truth())))

        yield commit
        self.show_cells(self.truth())

    def place(self, endpoint, plugged=True, settled=True):
        """Tells the stations where the endpoint is."""
        self.stations.tell("endpoint", endpoint.number, endpoint.wire.name if plugged else "-", endpoint.vlan,
                           endpoint.mac, endpoint.ipv4, endpoint.ipv6, "settled" if settled else "changing")

    def unsettle(self, endpoint):
        """Until it is placed again, it may be where it was or where it will be."""
        self.stations.tell("unsettled", endpoint.number)

    def endpoint_of(self, wire):
        return next((one for one in self.vnics() if one.wire is wire), None)

    # --- Changes, each confirmed by the switch ---------------------------------------------------------------------

    def apply(self, policy):
        with self.changing() as commit:
            self.policy = policy
            commit()
            self.switch.policy(policy.document(), "soak")

    def plug(self, name):
        """Adds the port of a wire."""
        wire = self.wires[name]
        endpoint = self.endpoint_of(wire)
        options = wire.port_options()
        if endpoint is None:
            options.update(role="uplink", vlan_mode="trunk", trunks="10,20")
        else:
            options.update(role="vnic", network=endpoint.network, mac=endpoint.mac,
                           address=f"{endpoint.ipv4},{endpoint.ipv6}", vm_name=name, vm_id=f"id-{name}")
            if endpoint.zone:
                options["tag"] = f"zone={endpoint.zone}"
        with self.changing() as commit:
            wire.plugged = True
            commit()
            if endpoint:
                self.place(endpoint, settled=False)
            self.switch.add_port(name, **options)
            if endpoint:
                self.wait_port(endpoint)
                self.place(endpoint)

    def unplug(self, name):
        wire = self.wires[name]
        endpoint = self.endpoint_of(wire)
        with self.changing() as commit:
            wire.plugged = False
            commit()
            if endpoint:
                self.unsettle(endpoint)
            self.switch.cordon("port", "del", name)
            wait_for(lambda: self.switch.try_cordon("drops", name).returncode != 0, WAIT_SECONDS, f"the end of {name}")
            if endpoint:
                self.place(endpoint, plugged=False)

    def move_zone(self, endpoint, zone):
        with self.changing() as commit:
            endpoint.zone = zone
            commit()
            self.switch.cordon("port", "set", endpoint.name, "--tag", f"zone={zone}" if zone else "")
            self.wait_port(endpoint)

    def move_vlan(self, endpoint, network):
        with self.changing() as commit:
            endpoint.network = network
            commit()
            self.unsettle(endpoint)
            self.switch.cordon("port", "set", endpoint.name, "--network", network)
            self.wait_port(endpoint)
            self.place(endpoint)

    def move_outside(self, endpoint, wire):
        """A machine outside goes to another uplink: its next frame tells."""
        endpoint.wire = wire
        self.place(endpoint)

    def wait_port(self, endpoint):
        """Waits until the switch itself, not the database, says what was asked for."""
        wait_for(lambda: self._is_in_force(endpoint), WAIT_SECONDS,
                 f"{endpoint.name} in {endpoint.zone}, {endpoint.network}", interval=0.02)

    def _is_in_force(self, endpoint):
        zone = endpoint.zone if self.policy and endpoint.zone else "quarantine"
        zones = {row["zone"]: row["endpoints"] for row in self.switch.json("zone", "list")}
        macs = self.switch.json("mac", "list")
        return (endpoint.name in zones.get(zone, ())
                and any(row["mac"] == endpoint.mac and row["vlan"] == endpoint.vlan and row["static"]
                        and row["port"] == endpoint.name for row in macs))
