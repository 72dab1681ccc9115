# SPDX-License-Identifier: Apache-2.0
"""cordon-vmm under test, and the small guest of tests/guest in it.

    vmm = Vmm(directory, "g1", command_line="-- say hi")
    vmm.start()
    vmm.command("say hello")        # a line on the guest's serial port, and its answer
    vmm.ask("status")["state"]      # a command on the control socket
    vmm.ended()                     # (exit status, outcome)

    guest = plug(switch, "g1", 1)   # such a guest, as a vNIC of the switch, in zone g1
    guest.ping("10.0.0.2")
"""

import contextlib
import ipaddress
import json
import os
import re
import socket
import subprocess
import time

from cordon import BUILD, wait_for

VMM = os.path.join(BUILD, "cordon-vmm")
KERNEL = os.path.join(BUILD, "tests", "guest", "guest.elf")
BZIMAGE = os.path.join(BUILD, "tests", "guest", "guest.bzimage")

CONTROL_PORT = 7777
MEMORY_MIB = 64

KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)


def mapped_kib(pid, guests, *names):
    """What /proc/PID/smaps says under these names: of the guest's memory, or of all but that."""
    counts = False
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as lines:
        for line in lines:
            words = line.split()
            if not words[0].endswith(":"):
                counts = ("memfd:guest" in line) == guests
            elif counts and words[0] in names:
                yield int(words[1])


class Vmm:
    """One process of cordon-vmm, whose files are all in `directory` and bear its name."""

    def __init__(self, directory, name, kernel=KERNEL, command_line="", memory=MEMORY_MIB, options=()):
        self.name = name
        self.directory = str(directory)
        self.kernel = kernel
        self.command_line = command_line
        self.memory = memory
        self.options = list(options)
        self.process = None
        self._console = None
        self._waiting = b""

    def path(self, what):
        return os.path.join(self.directory, f"{self.name}.{what}")

    def words(self):
        return [VMM, "--name", self.name, "--kernel", str(self.kernel), "--memory", str(self.memory), "--pages", "small",
                "--command-line", self.command_line, "--control", self.path("control"),
                "--outcome", self.path("outcome"), "--serial", self.path("serial"), *map(str, self.options)]

    # --- Life --------------------------------------------------------------------------------------------------

    def start(self, ready=True):
        """Starts the process, and waits until the guest says that it is ready."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path("serial"))  # What an earlier guest has said there.
        with open(self.path("messages"), "wb") as messages:
            self.process = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=messages, stderr=messages)
        if ready:
            self.wait_text("ready\n")
        return self

    def wait_text(self, text, seconds=20):
        """Waits until the guest has written this on its serial port."""
        def written():
            assert self.process.poll() is None or text in self.text(), f"{self.name} ended:\n{self.report()}"
            return text in self.text()

        wait_for(written, seconds, f"'{text.strip()}' of {self.name}", interval=0.01)

    def ended(self, seconds=20):
        """Waits for the end: the exit status, and what the outcome file says."""
        self._hang_up()
        status = self.process.wait(timeout=seconds)
        with open(self.path("outcome"), encoding="utf-8") as file:
            return status, json.load(file)

    def wait_asleep(self):
        """Waits until the guest has nothing to do: its processors' threads sleep, and nothing wakes them."""
        def asleep():
            before = self._processors()
            time.sleep(0.05)
            return before and before == self._processors() and all(state == "S" for state, _ in before.values())

        wait_for(asleep, 20, f"sleep of {self.name}")

    def _processors(self):
        """{thread: (state, how often it has gone to sleep)}"""
        found = {}
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/status", encoding="utf-8") as file:
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
            if fields["Name"].startswith("vcpu"):
                found[task] = fields["State"][0], int(fields["voluntary_ctxt_switches"])
        return found

    def kill(self):
        """As a crash: nothing is cleaned up."""
        self._hang_up()
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def close(self):
        self.kill()

    def _hang_up(self):
        if self._console:
            self._console.close()
        self._console, self._waiting = None, b""

    # --- The guest's serial port -------------------------------------------------------------------------------

    def text(self):
        """All that the guest has written."""
        return self._read("serial")

    def _read(self, what):
        return self._read_bytes(what).decode("utf-8", "replace")

    def _read_bytes(self, what):
        with contextlib.suppress(FileNotFoundError), open(self.path(what), "rb") as file:
            return file.read()
        return b""

    def send(self, line):
        """Gives the guest a command, and waits for nothing."""
        if not self._console:
            said = self._read_bytes("serial")[-1000:]
            self._console, answer = self._connect({"command": "console"})
            assert answer["ok"], answer
            # What was said before is told again, and is nobody's answer.
            self._read_until(lambda: said in self._waiting, 20)
            self._waiting = b""
        self._console.sendall(line.encode() + b"\n")

    def reply(self, seconds=20):
        """The next answer of the guest: a line that begins with "> "."""
        return self._read_until(self._take_reply, seconds)

    def command(self, line, seconds=20):
        self.send(line)
        return self.reply(seconds)

    def _take_reply(self):
        lines = self._waiting.split(b"\n")
        for number, line in enumerate(lines[:-1]):
            if line.rstrip(b"\r").startswith(b"> "):
                self._waiting = b"\n".join(lines[number + 1:])
                return line.rstrip(b"\r")[2:].decode()
        return None

    def _read_until(self, condition, seconds):
        """Reads until `condition` returns something true, which is returned."""
        limit = time.monotonic() + seconds
        while not (found := condition()):
            # What has come in is read, however late.
            self._console.settimeout(max(limit - time.monotonic(), 0.001))
            try:
                data = self._console.recv(65536)
            except TimeoutError as error:
                raise AssertionError(f"no answer of {self.name} within {seconds} s:\n{self.report()}") from error
            assert data, f"{self.name} hung up:\n{self.report()}"
            self._waiting += data
        return found

    # --- The control socket ------------------------------------------------------------------------------------

    def _connect(self, request):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(30)
        connection.connect(self.path("control"))
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            byte = connection.recv(1)
            assert byte, f"no answer to {request}: {answer!r}"
            answer += byte
        return connection, json.loads(answer)

    def ask(self, command, **arguments):
        """The answer to a command of the control protocol."""
        connection, answer = self._connect({"command": command, **arguments})
        connection.close()
        return answer

    def report(self):
        """All that helps to see why a test failed."""
        return f"--- {self.name}: messages\n{self._read('messages')}--- {self.name}: serial\n{self.text()[-4000:]}\n"


class GuestOnSwitch(Vmm):
    """The small guest with a vNIC, numbered as hosts are (host.py): 10.0.NET.NUMBER, fd00:NET::NUMBER."""

    def __init__(self, switch, name, number, net=0, net_options="", words="", **options):
        super().__init__(switch.directory, name, **options)
        self.mac = f"02:00:00:00:{net:02x}:{number:02x}"
        self.ipv4 = f"10.0.{net}.{number}"
        self.ipv6 = str(ipaddress.ip_address(f"fd00:{net:x}::{number:x}"))
        self.socket_path = self.path("sock")
        self.options += ["--net", f"socket={self.socket_path},mac={self.mac}{net_options}"]
        self.command_line = f"ip={self.ipv4} six={self.ipv6} {words} {self.command_line}"

    def address(self, version):
        return self.ipv4 if version == 4 else self.ipv6

    def ping(self, address, count=1):
        """How many answers came."""
        answer = self.command(f"ping {address} {count}", 20 + count)
        found = re.search(r"(\d+) of \d+ answered", answer)
        return int(found.group(1)) if found else 0

    def stats(self):
        """{"received": ..., "discarded": ..., "sent": ..., "interrupts": ...}"""
        words = self.command("stats").split()[1:]
        return {name: int(value) for name, value in zip(words[::2], words[1::2]) if name != "bytes"}

    def from_network(self, host, line, seconds=10, version=4):
        """Gives the guest a command by a datagram from `host`; its answer."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with host.socket(family, socket.SOCK_DGRAM) as asker:
            asker.settimeout(seconds)
            asker.connect((self.address(version), CONTROL_PORT))
            asker.send(line.encode())
            return asker.recv(2048).decode()


def plug(switch, name, number, zone=None, port_options=None, start=True, **options):
    """A guest on a port of the switch, running unless told otherwise."""
    guest = GuestOnSwitch(switch, name, number, **options)
    switch.hosts.append(guest)
    settings = {"type": "vhost", "socket": guest.socket_path, "role": "vnic", "network": "lan", "mac": guest.mac,
                "address": f"{guest.ipv4},{guest.ipv6}", "tag": f"zone={zone or name}", "vm_name": name,
                "vm_id": f"id-{name}"}
    settings.update(port_options or {})
    switch.add_port(name, **{key: value for key, value in settings.items() if value is not None})
    if start:
        guest.start()
        switch.wait_port(name)
    return guest
