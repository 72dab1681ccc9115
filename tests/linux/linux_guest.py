# SPDX-License-Identifier: Apache-2.0
"""Linux guests with user land, under Debian's QEMU, on a switch through vhost-user.

    Linux of the guest --- virtio-net --- QEMU ===socket=== cordon-switchd

    guest = plug(switch, "g1", 1, "zone", files)
    guest.wait_ready()
    guest.take_addresses()
    guest.run("ip address show dev eth0")       # what it wrote; another status than 0 fails
    guest.ping("10.0.0.2", 3)                   # how many answers came
"""

import itertools
import os
import shutil
import socket
import subprocess
import time

from cordon import wait_for

QEMU = shutil.which("qemu-system-x86_64")
MEMORY = "192M"
BOOT_SECONDS = 120


class LinuxFiles:
    """What a guest boots: Debian's kernel and an archive of our own, made once for all guests of a run."""

    def __init__(self, kernel, initramfs):
        self.kernel = kernel
        self.initramfs = initramfs


class Failed(AssertionError):
    """A command in a guest ended with another status than 0."""

    def __init__(self, guest, command, status, output):
        super().__init__(f"{guest.name}: {command}: exit status {status}\n{output}")
        self.status = status
        self.output = output


class LinuxGuest:
    """A machine as a Host is, numbered the same way, but with a kernel of its own."""

    def __init__(self, switch, name, number, files, queues=1):
        self.name = name
        self.mac = f"02:00:00:00:00:{number:02x}"
        self.ipv4 = f"10.0.0.{number}"
        self.ipv6 = f"fd00::{number:x}"
        self.socket_path = os.path.join(switch.directory, f"{name}.sock")
        self.boot_seconds = None
        self._shell_path = os.path.join(switch.directory, f"{name}.shell")
        self._console_path = os.path.join(switch.directory, f"{name}.console")
        self._files = files
        self._started_at = None
        self._queues = queues
        self._numbers = itertools.count(1)
        self._process = None
        self._shell = None
        self._read = b""

    # --- Life --------------------------------------------------------------------------------------------------

    def _command(self):
        queues = self._queues
        return [
            # It is measured where no KVM can run Debian's kernel, and is the same everywhere.
            QEMU, "-accel", "tcg,thread=multi", "-machine", "q35,memory-backend=memory", "-smp", str(queues),
            "-m", MEMORY, "-nodefaults", "-display", "none", "-no-user-config", "-name", self.name,
            # The switch maps the guest's memory.
            "-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on",
            "-kernel", self._files.kernel, "-initrd", self._files.initramfs,
            "-append", "console=ttyS0 panic=-1 net.ifnames=0 quiet",
            "-chardev", f"file,id=console,path={self._console_path}", "-serial", "chardev:console",
            "-chardev", f"socket,id=shell,path={self._shell_path},server=on,wait=off", "-serial", "chardev:shell",
            "-chardev", f"socket,id=wire,path={self.socket_path},server=on",
            "-netdev", f"vhost-user,id=vnic,chardev=wire,queues={queues}",
            # Without MSI-X: QEMU 7.2 does not survive it where a vhost-user device meets an accelerator other than KVM.
            "-device", f"virtio-net-pci,netdev=vnic,mac={self.mac},romfile=,vectors=0,"
                       f"mq={'on' if queues > 1 else 'off'}",
        ]

    def start(self):
        """Makes the socket.  QEMU waits there for the switch before it lets the guest run."""
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT)
        for path in (self._shell_path, self.socket_path):
            wait_for(lambda path=path: self._is_alive() and os.path.exists(path), 20, path)
        # Before the guest speaks: QEMU forgets what nobody listens to.
        self._shell = socket.socket(socket.AF_UNIX)
        self._shell.connect(self._shell_path)
        self._read = b""

    def _is_alive(self):
        if self._process.poll() is not None:
            raise AssertionError(f"QEMU of {self.name} ended with status {self._process.returncode}: "
                                 f"{self._process.stdout.read().decode()}; its console: {self.console()[-2000:]}")
        return True

    def wait_ready(self, seconds=BOOT_SECONDS):
        """Until its init listens."""
        self._read_to(b"ready\n", seconds)
        self.boot_seconds = time.monotonic() - self._started_at

    def reboot(self):
        """wait_ready() waits until it is there again."""
        self._started_at = time.monotonic()
        self._shell.sendall(b"0 reboot -f\n")
        self._read = b""

    def kill(self):
        """As a crash.  The sockets that it leaves behind are removed."""
        if self._shell:
            self._shell.close()
            self._shell = None
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process.stdout.close()
            self._process = None
        for path in (self.socket_path, self._shell_path):
            if os.path.exists(path):
                os.unlink(path)

    close = kill

    def console(self):
        """What the kernel has said."""
        with open(self._console_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    # --- Its shell ------------------------------------------------------------------------------------------------

    def _read_to(self, mark, seconds):
        limit = time.monotonic() + seconds
        while mark not in self._read:
            self._is_alive()
            left = limit - time.monotonic()
            if left <= 0:
                raise AssertionError(f"{self.name} did not say {mark.decode().strip()!r} within {seconds} s; it said "
                                     f"{self._read.decode(errors='replace')!r}; its console: {self.console()[-2000:]}")
            self._shell.settimeout(min(left, 1.0))
            try:
                self._read += self._shell.recv(65536)
            except TimeoutError:
                pass
        before, _, self._read = self._read.partition(mark)
        return before

    def begin(self, command):
        """Has the guest's shell begin a command; finish() waits for it.  One at a time."""
        number = next(self._numbers)
        self._shell.sendall(f"{number} {command}\n".encode())
        return number

    def finish(self, number, seconds=30):
        """(status, output) of the command that began."""
        output = self._read_to(b"\n=%d " % number, seconds).decode(errors="replace")
        return int(self._read_to(b"\n", seconds)), output

    def try_run(self, command, seconds=30):
        return self.finish(self.begin(command), seconds)

    def run(self, command, seconds=30):
        status, output = self.try_run(command, seconds)
        if status != 0:
            raise Failed(self, command, status, output)
        return output

    # --- What it does -----------------------------------------------------------------------------------------------

    def address(self, version):
        return self.ipv4 if version == 4 else self.ipv6

    def take_addresses(self):
        """The fixed ones, as a host has them."""
        self.run(f"ip address add {self.ipv4}/24 dev eth0; ip address add {self.ipv6}/64 dev eth0")

    def has_address(self, address):
        return f" {address}/" in self.run("ip address show dev eth0")

    def ping(self, address, count=1, size=56, wait=2):
        """How many answers came."""
        words = f"ping -q -c {count} -i 0.2 -W {wait} -w {count + wait} -s {size} {address}"
        _, output = self.try_run(words, seconds=count + wait + 20)
        for part in output.split(","):
            if "packets received" in part:
                return int(part.split()[0])
        return 0

    def can_connect(self, address, port, seconds=2):
        return self.try_run(f"nc -w {seconds} {address} {port} </dev/null", seconds + 20)[0] == 0


def plug(switch, name, number, zone, files, queues=1):
    """The guest is in its zone before its kernel has begun."""
    guest = LinuxGuest(switch, name, number, files, queues)
    switch.on_close(guest.close)
    guest.start()
    # SLAAC's addresses are the guest's own, too.
    from_its_mac = f"fd00::ff:fe00:{number:x}"
    switch.add_port(name, type="vhost", socket=guest.socket_path, queues=queues, role="vnic", network="lan",
                    mac=guest.mac, address=f"{guest.ipv4},{guest.ipv6},{from_its_mac}", tag=f"zone={zone}",
                    vm_name=name, vm_id=f"id-{name}")
    return guest
