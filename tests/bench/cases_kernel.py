# SPDX-License-Identifier: Apache-2.0
"""Large frames between guests, and what the kernel's own devices take: Cordon beside a Linux bridge with nftables, and
beside Open vSwitch with AF_XDP ports.

    namespace A --- veth ---+----------+--- veth --- namespace B
                            |  device  |

Whatever sends and receives in the namespaces is on the generator's core.  Cordon is on the device's, and so is the
bridge: its devices hand what comes in to that core (receive packet steering).
"""

import contextlib
import json
import os
import subprocess
import time

from case import CORDON, LINUX_BRIDGE, OVS_STATEFUL, TESTPMD_IO, Case, Figure, Round, Target, Turn
from cordon import BUILD, Switch
from devices import POLICY, LinuxBridge, OvsStateful
from host import Host, run
from machine import DEVICE_CORE, GENERATOR_CORE, Watch, on_core
from measure import Failed

FRAME_SENDER = os.path.join(BUILD, "bench", "frame_sender")
ON_GENERATOR_CORE = ["taskset", "-c", GENERATOR_CORE]


class CordonBetween:
    """Cordon between two namespaces."""

    name = CORDON

    def __init__(self):
        self.switch = Switch("bench", ["--workers", "1"])
        try:
            with on_core(DEVICE_CORE):
                self.switch.up()
            self.switch.add_network()
            self.hosts = [self.switch.host(f"bench-{side}", number, port_options={"tag": f"side={side}"})
                          for number, side in enumerate("ab", 1)]
            self.switch.policy(POLICY)
            self.switch.wait_port("bench-b")
        except BaseException:
            self.switch.close()
            raise

    def close(self):
        self.switch.close()

    def report(self):
        return self.switch.report()

    def watch(self):
        return Watch(self.switch.pid())

    def details(self):
        return {"modes": [self.switch.port(host.name)["status"] for host in self.hosts],
                "drops": {reason: count for reason, count in self.switch.drops().items() if count}}


class BridgeBetween:
    """A Linux bridge with nftables between two namespaces."""

    name = LINUX_BRIDGE

    def __init__(self):
        self.hosts, self.bridge = [], None
        try:
            for number, side in enumerate("ab", 1):
                self.hosts.append(Host(f"bench-{side}", number))
            devices = {side: host.device for side, host in zip("ab", self.hosts)}
            self.bridge = LinuxBridge(devices)
            for device in devices.values():
                run("ip", "netns", "exec", self.bridge.namespace, "sh", "-c",
                    f"echo {1 << DEVICE_CORE:x} >/sys/class/net/{device}/queues/rx-0/rps_cpus")
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.bridge:
            self.bridge.close()
        for host in self.hosts:
            host.close()

    def report(self):
        return self.bridge.report()

    def watch(self):
        return None  # It has no thread of its own.

    def details(self):
        return {}


class OvsAfxdp(OvsStateful):
    """Open vSwitch with the stateful rules, on AF_XDP ports instead of guests' sockets: {"a": device, "b": device}."""

    def _configure(self, sockets, needs):
        self._vsctl("add-br", "bench", "--", "set", "bridge", "bench", "datapath_type=netdev", "fail_mode=secure")
        self._run("ovs-ofctl", "add-flows", f"unix:{self._path('bench.mgmt')}", self._write_flows(len(sockets)))
        for number, device in enumerate(sockets.values(), 1):
            run("ip", "link", "set", device, "netns", self.pid())
            run("nsenter", "--target", self.pid(), "--net", "ip", "link", "set", device, "up")
            self._vsctl("add-port", "bench", device, "--", "set", "interface", device, "type=afxdp",
                        f"ofport_request={number}")
            error = self._vsctl("get", "interface", device, "error").strip()
            if error != "[]":
                raise RuntimeError(f"Open vSwitch does not take {device} as an afxdp port: {error}")


class OvsBetween:
    """Open vSwitch between two namespaces."""

    name = OVS_STATEFUL

    def __init__(self):
        self.hosts, self.ovs = [], None
        try:
            for number, side in enumerate("ab", 1):
                self.hosts.append(Host(f"bench-{side}", number))
                # It passes frames on as AF_XDP gives them: without the checksum that a veth leaves open.
                self.hosts[-1].run("ethtool", "-K", "eth0", "tx", "off")
            self.ovs = OvsAfxdp({side: host.device for side, host in zip("ab", self.hosts)})
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.ovs:
            self.ovs.close()
        for host in self.hosts:
            host.close()

    def report(self):
        return self.ovs.report()

    def watch(self):
        return Watch(self.ovs.pid())

    def details(self):
        return {}


BETWEEN = {one.name: one for one in (CordonBetween, BridgeBetween, OvsBetween)}


@contextlib.contextmanager
def between(device_name):
    """A device between two namespaces that know each other."""
    try:
        device = BETWEEN[device_name]()
    except (AssertionError, RuntimeError) as error:
        raise Failed(f"{device_name} does not start: {error}") from error
    try:
        a, b = device.hosts
        a.knows(b)
        b.knows(a)
        if not any(a.ping(b.ipv4, wait=1) for _ in range(20)):
            raise Failed("no ping passes between the namespaces", device.report())
        yield device
    finally:
        device.close()


class Tso(Case):
    """TCP in a few connections: between guests whose stacks leave checksums and segmentation to their cards, in frames
    of up to 64 KiB; and, by iperf3, between namespaces."""

    name = "tso"
    figures = (
        Figure("tso", "Gbit/s", "TCP between guests with segmentation offload", (Target(0.8, of=TESTPMD_IO),)),
        Figure("tso.namespaces", "Gbit/s", "TCP between two namespaces (veth)"),
    )
    quick = True
    CONNECTIONS = 8

    def turns(self, settings):
        guests = [Turn(TESTPMD_IO, "guests"), Turn(CORDON, "guests")]
        return guests + ([] if settings.quick else [Turn(LINUX_BRIDGE, "namespaces"), Turn(CORDON, "namespaces")])

    def measure(self, bench, turn):
        if turn.variant == "namespaces":
            return self._between_namespaces(bench, turn.device)
        options = ["--mode", "bulk", "--flows", self.CONNECTIONS, "--seconds", bench.settings.seconds, "--rounds", 1]
        with bench.session(turn.device, options, segmentation=True) as session:
            measured = session.finish()["rounds"][0]
        return Round({"tso": measured["gbit_per_second"]}, session.waited, measured)

    def _between_namespaces(self, bench, device_name):
        with between(device_name) as device:
            a, b = device.hosts
            b.start(*ON_GENERATOR_CORE, "iperf3", "--server", "--one-off", stdout=subprocess.DEVNULL)
            watch = None
            time.sleep(0.3)
            client = a.start(*ON_GENERATOR_CORE, "iperf3", "--client", b.ipv4, "--json", "--parallel", 2,
                             "--time", bench.settings.seconds, stdout=subprocess.PIPE, text=True)
            time.sleep(0.3)
            watch = device.watch()
            output = client.stdout.read()
            waited = watch.look() if watch else 0.0
            client.stdout.close()
            if client.wait() != 0:
                raise Failed(f"iperf3 failed: {json.loads(output or '{}').get('error')}", device.report())
            gbit = json.loads(output)["end"]["sum_received"]["bits_per_second"] / 1e9
            return Round({"tso.namespaces": gbit}, waited, device.details())


def received_frames(host):
    """How many frames a namespace's device has taken in."""
    links = json.loads(run("ip", "-json", "-stats", "-netns", host.namespace, "link", "show", "eth0").stdout)
    return links[0]["stats64"]["rx"]["packets"]


class KernelPorts(Case):
    """64-byte frames of 1,024 UDP connections in both directions between two veth devices, as fast as the kernel takes
    them from one thread, which may be less than the device could do: see what it sent, in rounds.json.  The receiving
    stacks drop them at once."""

    name = "kernel-ports"
    figures = (Figure("kernel-ports", "Mpps", "64-byte frames between two veth ports, 1,024 UDP connections"),)
    devices = (OVS_STATEFUL, LINUX_BRIDGE, CORDON)
    FLOWS, BYTES = 1024, 64
    WARM_UP_SECONDS = 0.5
    DROP = "table netdev bench {\n chain in {\n  type filter hook ingress device eth0 priority 0; policy drop;\n }\n}\n"

    def measure(self, bench, turn):
        with between(turn.device) as device:
            sides = [f"{host.namespace},eth0,{host.mac},{host.ipv4}" for host in device.hosts]
            for host in device.hosts:
                run("ip", "netns", "exec", host.namespace, "nft", "-f", "-", text=self.DROP)
            sender = subprocess.Popen(
                [*map(str, ON_GENERATOR_CORE), FRAME_SENDER, *sides, str(self.FLOWS), str(self.BYTES),
                 str(bench.settings.seconds + 2)], stdout=subprocess.PIPE, text=True)
            try:
                time.sleep(self.WARM_UP_SECONDS)
                watch = device.watch()
                rate = self._received_rate(device.hosts, bench.settings.seconds)
                waited = watch.look() if watch else 0.0
                output, _ = sender.communicate(timeout=30)
            finally:
                sender.kill()
                sender.wait()
            if sender.returncode != 0:
                raise Failed("frame_sender failed", device.report())
            return Round({"kernel-ports": rate / 1e6}, waited, dict(device.details(), sender=json.loads(output)))

    @staticmethod
    def _received_rate(hosts, seconds):
        before, begun = sum(map(received_frames, hosts)), time.monotonic()
        time.sleep(seconds)
        return (sum(map(received_frames, hosts)) - before) / (time.monotonic() - begun)


CASES = [Tso(), KernelPorts()]
