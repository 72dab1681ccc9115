# SPDX-License-Identifier: Apache-2.0
"""The devices under test, each with everything on one core.  All but the Linux bridge connect to the generator's
vhost-user sockets.

    device = DEVICES["cordon"](sockets, Needs(connections=1 << 21))
    device.pid()        # of the process that forwards
    device.report()     # what helps to see why it failed
    device.close()      # never fails

A constructor that fails leaves nothing behind.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass

from case import CORDON, LINUX_BRIDGE, OVS_PLAIN, OVS_STATEFUL, TESTPMD_IO
from cordon import Switch, unique, wait_for
from host import ip_batch, run
from machine import DEVICE_CORE, on_core

# The guests that the generator plays.
SIDES = {
    "a": {"mac": "02:00:00:77:00:01", "address": "10.77.0.1,fd77::1"},
    "b": {"mac": "02:00:00:77:00:02", "address": "10.77.0.2,fd77::2"},
    "c": {"mac": "02:00:00:77:00:03", "address": "10.77.0.3,fd77::3"},
}

POLICY = """\
zones:
  left: {match: "side=a"}
  right: {match: "side=b"}
policies:
  - id: bench
    mode: enforce
    rules:
      - {id: left-to-right, from: left, to: right, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

CONNECTIONS_DEFAULT = 1 << 20
START_SECONDS = 10
END_SECONDS = 10

# A program that does not outlive the bench, whatever happens to it.
DIE_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]


@dataclass(frozen=True)
class Needs:
    """What a case needs of a device beyond its default configuration."""

    connections: int = CONNECTIONS_DEFAULT  # That it can track.
    policy: str = POLICY  # Cordon's.
    segmentation: bool = False  # Guests may send frames of 64 KiB (TSO), which Cordon lets them in any case.


def end(process, first=signal.SIGTERM):
    """Ends a process that we started."""
    if process.poll() is None:
        process.send_signal(first)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


class TestpmdIo:
    """testpmd in io mode: it moves frames from one port to the other, and does nothing else."""

    name = TESTPMD_IO

    def __init__(self, sockets, needs=Needs()):
        # With the old meaning of offload flags what a guest asks for is passed on with the frame.
        options = "client=1,tso=1,legacy-ol-flags=1" if needs.segmentation else "client=1"
        devices = [f"--vdev=eth_vhost{i},iface={path},{options}" for i, path in enumerate(sockets.values())]
        self.output = tempfile.TemporaryFile()
        # The first lcore runs the command line and sleeps; it is its end of input that testpmd stops at.
        self.process = subprocess.Popen(
            [*DIE_WITH_US, "dpdk-testpmd", "--lcores", f"0@{DEVICE_CORE},1@{DEVICE_CORE}", "--in-memory", "--no-pci",
             "--no-telemetry", "--log-level=4", "--file-prefix", f"bench{os.getpid()}", "-m", "256", *devices,
             "--", "--forward-mode=io", "--nb-cores=1", "--auto-start", "--total-num-mbufs=16384"],
            stdin=subprocess.PIPE, stdout=self.output, stderr=self.output, start_new_session=True)

    def close(self):
        end(self.process, signal.SIGINT)
        self.process.stdin.close()
        self.output.close()

    def pid(self):
        return self.process.pid

    def report(self):
        self.output.seek(0)
        return self.output.read().decode(errors="replace")


class Cordon:
    """cordon-switchd with one worker, a policy in force and every session logged."""

    name = CORDON

    def __init__(self, sockets, needs=Needs()):
        self.switch = Switch("bench", ["--workers", "1", "--max-connections", str(needs.connections)])
        try:
            with on_core(DEVICE_CORE):
                self.switch.up()
            self.switch.add_network()
            for side, path in sockets.items():
                self.switch.add_port(side, type="vhost", socket=path, role="vnic", network="lan",
                                     tag=f"side={side}", **SIDES[side])
            self.switch.policy(needs.policy)
        except BaseException as error:
            report = self.switch.report()
            self.switch.close()
            if isinstance(error, Exception):
                raise RuntimeError(f"cordon does not start: {error}\n{report}") from error
            raise

    def close(self):
        self.switch.close()

    def pid(self):
        return self.switch.pid()

    def report(self):
        return self.switch.report()


class OvsPlain:
    """Open vSwitch with DPDK at its quickest: two flows, from the one port to the other and back.  Between more than
    two ports it is a MAC-learning switch (NORMAL), as it is without a controller."""

    name = OVS_PLAIN
    VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
    SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"

    # All else is Open vSwitch's default: the exact-match cache on, one queue, batching as it comes.
    SETTINGS = {
        "dpdk-init": "true",
        "dpdk-socket-mem": "1024",
        "dpdk-lcore-mask": hex(1 << DEVICE_CORE),
        "pmd-cpu-mask": hex(1 << DEVICE_CORE),
        "dpdk-extra": "--in-memory --no-pci --no-telemetry",
    }

    def __init__(self, sockets, needs=Needs()):
        self.directory = tempfile.mkdtemp(prefix="cordon-ovs-", dir="/tmp")
        self.processes = []
        try:
            with on_core(DEVICE_CORE):
                self._start()
            self._configure(sockets, needs)
        except BaseException as error:
            report = self.report()
            self.close()
            if isinstance(error, Exception):
                raise RuntimeError(f"Open vSwitch does not start: {error}\n{report}") from error
            raise

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _run(self, *words):
        environment = dict(os.environ, OVS_RUNDIR=self.directory, OVS_LOGDIR=self.directory, OVS_DBDIR=self.directory,
                           OVS_SYSCONFDIR=self.directory)
        result = subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True, timeout=60,
                                check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, words))}: {result.stdout}{result.stderr}")
        return result.stdout

    def _vsctl(self, *words):
        return self._run("ovs-vsctl", f"--db=unix:{self._path('db.sock')}", "--timeout=30", *words)

    def appctl(self, *words):
        return self._run("ovs-appctl", "-t", self._path("vswitchd.ctl"), *words)

    def _daemon(self, *words):
        """Its network devices (it makes two of its own) are in a namespace that goes with it."""
        environment = dict(os.environ, OVS_RUNDIR=self.directory, OVS_LOGDIR=self.directory, OVS_DBDIR=self.directory,
                           OVS_SYSCONFDIR=self.directory)
        process = subprocess.Popen(
            ["unshare", "--net", *DIE_WITH_US, *words], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.processes.append(process)

    def _start(self):
        self._run("ovsdb-tool", "create", self._path("conf.db"), self.SCHEMA)
        self._daemon("ovsdb-server", self._path("conf.db"), f"--remote=punix:{self._path('db.sock')}",
                     f"--unixctl={self._path('ovsdb.ctl')}", f"--log-file={self._path('ovsdb.log')}", "-vconsole:off")
        wait_for(lambda: os.path.exists(self._path("db.sock")), START_SECONDS, "ovsdb-server's socket")
        self._vsctl("--no-wait", "init", "--", "set", "Open_vSwitch", ".",
                    *(f'other_config:{name}="{value}"' for name, value in self.SETTINGS.items()))
        self._daemon(self.VSWITCHD, f"unix:{self._path('db.sock')}", f"--unixctl={self._path('vswitchd.ctl')}",
                     f"--log-file={self._path('vswitchd.log')}", "-vconsole:off")

    def _configure(self, sockets, needs):
        self._vsctl("add-br", "bench", "--", "set", "bridge", "bench", "datapath_type=netdev", "fail_mode=secure")
        self._run("ovs-ofctl", "add-flows", f"unix:{self._path('bench.mgmt')}", self._write_flows(len(sockets)))
        self.appctl("dpctl/ct-set-maxconns", "netdev@ovs-netdev", needs.connections)
        for number, (side, path) in enumerate(sockets.items(), 1):
            self._vsctl("add-port", "bench", side, "--", "set", "interface", side, "type=dpdkvhostuserclient",
                        f"options:vhost-server-path={path}", f"ofport_request={number}")

    def flows(self, ports):
        """Of ports 1 to `ports`."""
        return [f"in_port={port},actions={self.output(port, ports)}" for port in range(1, ports + 1)]

    @staticmethod
    def output(port, ports):
        return f"output:{3 - port}" if ports == 2 else "NORMAL"

    def _write_flows(self, ports):
        path = self._path("flows")
        with open(path, "w", encoding="ascii") as file:
            file.write("".join(flow + "\n" for flow in self.flows(ports)))
        return path

    def close(self):
        for process in reversed(self.processes):
            end(process)
        shutil.rmtree(self.directory, ignore_errors=True)

    def pid(self):
        return self.processes[1].pid

    def report(self):
        parts = []
        for name in ("vswitchd.log", "ovsdb.log"):
            if os.path.exists(self._path(name)):
                with open(self._path(name), encoding="utf-8", errors="replace") as file:
                    parts.append(f"--- {name}\n" + "".join(file.readlines()[-40:]))
        return "\n".join(parts)


class OvsStateful(OvsPlain):
    """The same with the usual stateful rules: A (and C) may open connections, what is established passes, the rest
    is dropped."""

    name = OVS_STATEFUL
    OPENERS = (1, 3)

    def flows(self, ports):
        found = ["table=0,priority=20,arp,actions=NORMAL",
                 "table=0,priority=10,ip,ct_state=-trk,actions=ct(table=1)",
                 "table=0,priority=10,ipv6,ct_state=-trk,actions=ct(table=1)",
                 "table=0,priority=0,actions=drop", "table=1,priority=0,actions=drop"]
        for port in range(1, ports + 1):
            for ip in ("ip", "ipv6"):
                match = f"table=1,priority=10,{ip},in_port={port}"
                found.append(f"{match},ct_state=+trk+est,actions={self.output(port, ports)}")
                if port in self.OPENERS:
                    found.append(f"{match},ct_state=+trk+new,actions=ct(commit),{self.output(port, ports)}")
        return found


class LinuxBridge:
    """The kernel's bridge between network devices, with nftables' connection tracking (by br_netfilter, as the bridge's
    own is not in every kernel) and rules like those of the others.  It lives in a namespace that the devices are moved
    into, and go with; its work is done in the context of whoever sends, so there is no process."""

    name = LINUX_BRIDGE
    RULES = """\
table bridge bench {
	chain prerouting {
		type filter hook prerouting priority -300; policy accept;
		iifname "%s" meta mark set 1
	}
}
table inet bench {
	chain forward {
		type filter hook forward priority 0; policy drop;
		meta l4proto ipv6-icmp accept
		ct state established,related accept
		meta mark 1 ct state new accept
	}
}
"""

    def __init__(self, devices, _needs=Needs()):
        """`devices` are network devices by side: {"a": ..., "b": ...}; A may open connections."""
        self.namespace = unique("cdnbr-")
        ip_batch([f"netns add {self.namespace}"])
        try:
            ip_batch([f"link set {device} netns {self.namespace}" for device in devices.values()])
            run("ip", "-n", self.namespace, "-batch", "-", text="\n".join(
                ["link add bench type bridge", "link set bench up",
                 *(f"link set {device} master bench up" for device in devices.values())]) + "\n")
            self._inside("nft", "-f", "-", text=self.RULES % devices["a"])
            if not os.path.exists("/proc/sys/net/bridge"):
                run("modprobe", "br_netfilter")
            for ip in ("ip", "ip6"):
                self._inside("sh", "-c", f"echo 1 >/proc/sys/net/bridge/bridge-nf-call-{ip}tables")
        except BaseException:
            self.close()
            raise

    def _inside(self, *words, **options):
        return run("ip", "netns", "exec", self.namespace, *words, **options)

    def close(self):
        run("ip", "netns", "delete", self.namespace, check=False)

    def pid(self):
        return None

    def report(self):
        return "".join(self._inside(*words, check=False).stdout
                       for words in (("ip", "-s", "link"), ("nft", "list", "ruleset")))


# On vhost-user sockets.
DEVICES = {one.name: one for one in (TestpmdIo, OvsPlain, OvsStateful, Cordon)}
