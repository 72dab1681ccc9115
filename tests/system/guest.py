# SPDX-License-Identifier: Apache-2.0
"""Guests on vhost-user sockets, played by testpmd's virtio_user device, which makes the socket as a VMM does.

    kernel of a namespace --- veth --- testpmd io --- virtio_user ===socket=== cordon-switchd
    (a Host)                          (a VhostGuest)

So a guest has a real IP stack, and its death and return are a real front end's.
"""

import os
import shutil
import subprocess
import time

from cordon import unique, wait_for
from host import Host, run

TESTPMD = shutil.which("dpdk-testpmd")


class Testpmd:
    """One testpmd, with its command line on a pipe.  A virtio_user device in server mode holds it up at its start
    until the switch has connected: wait_prompt() waits for that."""

    def __init__(self, devices, arguments, log, memory_mb=64, huge=False, core="0-1"):
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
            return self.text().count("testpmd> ") >= count

        wait_for(ready, 20, "testpmd's prompt")

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

    def __init__(self, switch, name, number, net=0, device_options="mrg_rxbuf=1", queues=1):
        super().__init__(name, number, net)
        self.socket_path = os.path.join(switch.directory, f"{name}.sock")
        self._log = os.path.join(switch.directory, f"{name}.testpmd.log")
        self._options = device_options
        self._queues = queues
        self.testpmd = None
        # The frames cross testpmd, which carries no offloads.
        with self.entered():
            run("ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off")

    def start(self):
        """Makes the socket.  Traffic flows when the switch has connected to it."""
        self.testpmd = Testpmd(
            [f"net_virtio_user0,path={self.socket_path},server=1,mac={self.mac},queues={self._queues},{self._options}",
             f"net_af_packet0,iface={self.device},qpairs={self._queues}"],
            ["--forward-mode=io", "--auto-start", "--total-num-mbufs=4096", f"--rxq={self._queues}", f"--txq={self._queues}"],
            self._log)
        wait_for(lambda: os.path.exists(self.socket_path), 10, f"the socket of {self.name}")

    def kill(self):
        self.testpmd.kill()
        os.unlink(self.socket_path)

    def close(self):
        if self.testpmd:
            self.testpmd.close()
        super().close()


def settle(seconds=0.2):
    """Where the absence of something is to be seen, there is no condition to wait for."""
    time.sleep(seconds)
