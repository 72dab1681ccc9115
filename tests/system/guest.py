# SPDX-License-Identifier: Apache-2.0
"""Guests on vhost-user sockets, played by testpmd's virtio_user device, which makes the socket as a VMM does.

    kernel of a namespace --- veth --- testpmd io --- virtio_user ===socket=== cordon-switchd
    (a Host)                          (a VhostGuest)

So a guest has a real IP stack, and its death and return are a real front end's.

Each testpmd is in a network namespace of its own.  Its af_packet device joins a group of sockets (PACKET_FANOUT)
under a number that is made of the process's number and the device's; where two of one namespace come to the same, the
later one is left without the device, and sends all that it receives back where it came from.
"""

import contextlib
import os
import shutil
import subprocess

from cordon import unique, wait_for
from host import Host, inside, run

TESTPMD = shutil.which("dpdk-testpmd")

LARGE_FRAME_BYTES = 12000


class Testpmd:
    """One testpmd, with its command line on a pipe.  A virtio_user device in server mode holds it up at its start
    until the switch has connected: wait_prompt() waits for that."""

    def __init__(self, devices, arguments, log, memory_mb=128, huge=False, core="0-1"):
        self.log = log
        # The command line's thread and the forwarding one may share a core.
        command = ["stdbuf", "-o0", TESTPMD, "--lcores", f"0@({core}),1@({core})", "--no-pci", "--no-telemetry", "--log-level=4",
                   "--file-prefix", unique("tp"), "-m", str(memory_mb)]
        command += ["--in-memory", "--single-file-segments"] if huge else ["--no-huge", "--no-shconf"]
        command += [f"--vdev={device}" for device in devices]
        command += ["--", "--interactive", "--no-mlockall", *arguments]
        with open(log, "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_prompt(self, count=1):
        def ready():
            assert self.process.poll() is None, f"testpmd ended:\n{self.text()}"
            assert "probe failed" not in self.text(), f"testpmd goes on without one of its devices:\n{self.text()}"
            return self.text().count("testpmd> ") >= count

        wait_for(ready, 60, "testpmd's prompt")

    def command(self, line):
        """Gives testpmd a command; returns what it answered."""
        before = self.text()
        self.process.stdin.write((line + "\n").encode())
        self.process.stdin.flush()
        self.wait_prompt(before.count("testpmd> ") + 1)
        return self.text()[len(before):]

    def counters(self, port=0):
        """{"RX-packets": ..., "TX-packets": ...}"""
        found = {}
        words = self.command(f"show port stats {port}").replace(":", " ").split()
        for name, value in zip(words, words[1:]):
            if name in ("RX-packets", "TX-packets", "RX-missed", "TX-errors"):
                found[name] = int(value)
        return found

    def kill(self):
        """As a crash: without a word to the other end."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    def close(self):
        if self.process.poll() is None:
            self.kill()


class VhostGuest(Host):
    """A host whose network card is a virtio device on a vhost-user socket."""

    def __init__(self, switch, name, number, net=0, mtu=1500, device_options="mrg_rxbuf=1", queues=1, offloads=False):
        super().__init__(name, number, net, mtu, outside=unique("cdt-"))
        self._offloads = offloads
        self.socket_path = os.path.join(switch.directory, f"{name}.sock")
        self._log = os.path.join(switch.directory, f"{name}.testpmd.log")
        self._options = device_options
        self._queues = queues
        self.testpmd = None
        if offloads:
            # Large frames come out of the namespace as they are, but fit testpmd's buffers.
            for size in ("gso_max_size", "gso_ipv4_max_size"):
                run("ip", "-netns", self.namespace, "link", "set", "eth0", size, str(LARGE_FRAME_BYTES), check=False)
        else:
            with self.entered():
                run("ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off")

    def _forwarding(self):
        """As a guest with offloads: checksums and segmentation are left to the switch, by testpmd's csum engine."""
        if not self._offloads:
            return ["--forward-mode=io"]
        commands = os.path.join(os.path.dirname(self._log), f"{self.name}.commands")
        with open(commands, "w", encoding="ascii") as file:
            file.write("port stop 0\ncsum set tcp hw 0\ncsum set udp hw 0\ncsum mac-swap off 0\ncsum mac-swap off 1\ntso set 1400 0\nport start 0\n")
        return ["--forward-mode=csum", f"--cmdline-file={commands}"]

    def start(self):
        """Makes the socket.  Traffic flows when the switch has connected to it."""
        devices = [
            f"net_virtio_user0,path={self.socket_path},server=1,mac={self.mac},queues={self._queues},{self._options}",
            f"net_af_packet0,iface={self.device},qpairs={self._queues},framesz=16384,blocksz=65536"]
        arguments = [*self._forwarding(), "--auto-start", "--total-num-mbufs=2048", "--mbuf-size=16640",
                     f"--rxq={self._queues}", f"--txq={self._queues}"]
        with inside(self.outside):
            self.testpmd = Testpmd(devices, arguments, self._log)
        wait_for(lambda: os.path.exists(self.socket_path), 20, f"the socket of {self.name}")

    def wait_ready(self):
        """Waits until testpmd forwards.  The switch has connected, or is about to."""
        self.testpmd.wait_prompt()

    def kill(self):
        """As a crash.  The socket that it leaves behind is removed, as a VMM does before it begins."""
        self.testpmd.kill()
        os.unlink(self.socket_path)

    def close(self):
        if self.testpmd:
            self.testpmd.close()
            if os.path.exists(self.socket_path):
                os.unlink(self.socket_path)
        super().close()

    def report(self):
        text = super().report()
        if self.testpmd is None or self.testpmd.process.poll() is not None:
            return text + "testpmd is not running\n"
        with contextlib.suppress(AssertionError, OSError):  # It may hang, or wait for the switch.
            self.testpmd.command("show port stats all")
        return text + "\n".join(self.testpmd.text().splitlines()[-80:]) + "\n"
