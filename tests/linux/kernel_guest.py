# SPDX-License-Identifier: Apache-2.0
"""Guests that are the small kernel alone, under cordon-vmm: their kernel answers ARP, neighbour discovery and pings.

    Linux of the guest --- virtio-net --- cordon-vmm ===socket=== cordon-switchd

    guest = KernelGuest(switch, "g1", 1, kernel, initrd)
    guest.start(); switch.add_port(...); guest.wait_console("Run /init")
    guest.command("pause")
    guest.wait_end()["outcome"]
"""

import json
import os
import socket
import subprocess
import time

from cordon import BUILD, wait_for

VMM = os.path.join(BUILD, "cordon-vmm")
MEMORY_MIB = 128
IN_INIT = "Run /init as init process"
# A kernel that is emulated takes some 15 s to its /init on a machine that has nothing else to do.
BOOT_SECONDS = 240
# Emulated, a packet takes the kernel milliseconds, and large ones tenths of a second.
PING_SECONDS = 10
# Without hardware virtualisation a kernel sees what the host's processor has, but its KVM runs none of this for it; and
# the last two it runs byte by byte.
NOT_EMULATED = "smap,smep,xsave,rdpid,fsgsbase,popcnt,clwb,rdtscp,invpcid,cx16,bmi1,bmi2,erms,fsrm"
# What such a KVM names as well: hypercalls, which never come back.
NO_HYPERCALLS = "kvm_pv_send_ipi,kvm_pv_sched_yield,kvm_pv_unhalt"


def answers(host, address, count=1, size=56, seconds=PING_SECONDS):
    """True if as many answers come in time.  (With -W, ping would wait for late ones no longer than for early ones.)"""
    words = ["ping", "-n", "-q", "-c", count, "-i", "0.1", "-w", seconds, "-s", size, address]
    return host.run(*words, check=False).returncode == 0


def wait_answer(host, address, seconds=30):
    wait_for(lambda: answers(host, address, seconds=1), seconds, f"an answer of {address} to {host.name}")


def has_hardware_virtualisation():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        flags = next((line.split() for line in file if line.startswith("flags")), [])
    return "vmx" in flags or "svm" in flags


class KernelGuest:
    """A machine as a Host is, numbered the same way.  Its network card has a pair of rings for each processor."""

    def __init__(self, switch, name, number, kernel, initrd, options=(), vcpus=1, memory_mib=MEMORY_MIB):
        self.name = name
        self.vcpus, self.memory_mib = vcpus, memory_mib
        self.boot_seconds = BOOT_SECONDS + memory_mib // 8  # Each MiB is 256 pages to be told of.
        self.mac = f"02:00:00:00:00:{number:02x}"
        self.ipv4 = f"10.0.0.{number}"
        self.ipv6 = f"fd00::ff:fe00:{number:x}"  # From its MAC (RFC 4291, 2.5.1), with a router's prefix.
        self.socket_path = os.path.join(switch.directory, f"{name}.sock")
        self.seconds_to = {}  # {text: seconds from the start until it was on the console}
        self._control_path = os.path.join(switch.directory, f"{name}.control")
        self._console_path = os.path.join(switch.directory, f"{name}.console")
        self._outcome_path = os.path.join(switch.directory, f"{name}.outcome")
        self._log_path = os.path.join(switch.directory, f"{name}.vmm.log")
        self._kernel = kernel
        self._initrd = initrd
        self._options = options
        self._process = None
        self._started_at = None

    # --- Life --------------------------------------------------------------------------------------------------

    def start(self, ip=None):
        """ip: what the kernel's parameter ip= says; "dhcp", or None for its own fixed address."""
        ip = ip or f"{self.ipv4}::{self.ipv4}:255.255.255.0:{self.name}:eth0:off"
        words, options = f"console=ttyS0 earlyprintk=ttyS0 panic=-1 ip={ip}", list(self._options)
        if not has_hardware_virtualisation():
            # Virtio's devices reach all memory: no 64 MiB for others that do not, which would have to be cleared.
            words += f" clearcpuid={NOT_EMULATED} swiotlb=noforce"
            if self.vcpus > 1:
                # Ticks ask for the time again and again: KVM's clock takes more instructions than the TSC.
                words += " no-kvmclock"
            options += ["--cpu-mask", NO_HYPERCALLS]
        command = [VMM, "--name", self.name, "--vcpus", str(self.vcpus), "--memory", str(self.memory_mib),
                   "--kernel", self._kernel, "--initrd", self._initrd, "--command-line", words,
                   "--net", f"socket={self.socket_path},mac={self.mac},queues={self.vcpus}",
                   "--serial", self._console_path, "--control", self._control_path, "--outcome", self._outcome_path,
                   *options]
        self._started_at = time.monotonic()
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self._is_alive() and os.path.exists(self.socket_path), 20, f"the socket of {self.name}")

    def _is_alive(self):
        if self._process.poll() is not None:
            raise AssertionError(f"cordon-vmm of {self.name} ended with status {self._process.returncode}: "
                                 f"{self._text()}")
        return True

    def _text(self):
        """What cordon-vmm has said, and the end of what the kernel has."""
        with open(self._log_path, encoding="utf-8", errors="replace") as file:
            return f"{file.read()}; its console: {self.console()[-2000:]}"

    def console(self):
        try:
            with open(self._console_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def wait_console(self, text):
        """Until the kernel says this."""
        limit = time.monotonic() + self.boot_seconds
        while text not in self.console():
            self._is_alive()
            if time.monotonic() > limit:
                raise AssertionError(f"{self.name} did not say {text!r} within {self.boot_seconds} s: {self._text()}")
            time.sleep(0.1)
        self.seconds_to[text] = time.monotonic() - self._started_at

    def wait_end(self, seconds=20):
        """(exit status, outcome)"""
        status = self._process.wait(seconds)
        with open(self._outcome_path, encoding="utf-8") as file:
            return status, json.load(file)

    def close(self):
        """Ends it, if it has not ended.  It spins otherwise."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    # --- Its control socket -------------------------------------------------------------------------------------

    def command(self, name, **more):
        """The answer of cordon-vmm, which must have done it."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self._control_path)
            connection.sendall(json.dumps({"command": name, **more}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline())
        assert answer["ok"], answer
        return answer
