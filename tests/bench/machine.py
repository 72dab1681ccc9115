# SPDX-License-Identifier: Apache-2.0
"""The machine that the bench runs on: what it must have, and whether somebody else is using it."""

import contextlib
import os
import shutil
import time

DEVICE_CORE = 0
GENERATOR_CORE = 1
HUGEPAGES = "/proc/sys/vm/nr_hugepages"

# Command, and Debian's package that it is in.
COMMANDS = {
    "dpdk-testpmd": "dpdk-dev",
    "ovsdb-server": "openvswitch-common",
    "ovs-vsctl": "openvswitch-switch",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
    "iperf3": "iperf3",
    "taskset": "util-linux",
}
FILES = {"/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk": "openvswitch-switch-dpdk"}


def missing_packages():
    missing = {package for command, package in COMMANDS.items() if not shutil.which(command)}
    return sorted(missing | {package for path, package in FILES.items() if not os.path.exists(path)})


def what_is_missing(programs):
    """Says what is missing and what to do, or returns None."""
    if os.geteuid() != 0:
        return "this needs root: hugepages and network devices; try: sudo make bench"
    if not {DEVICE_CORE, GENERATOR_CORE} <= os.sched_getaffinity(0):
        return f"this needs cores {DEVICE_CORE} and {GENERATOR_CORE}, one for the device and one for the generator"
    if missing_packages():
        return f"packages are missing; try: apt-get install {' '.join(missing_packages())}"
    for program in programs:
        if not os.path.exists(program):
            return f"{program} is missing; try: make bench"
    return None


# --- Hugepages -------------------------------------------------------------------------------------------------

def hugepages(field):
    """Of 2 MiB; `field` is Total or Free."""
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields[f"HugePages_{field}"])


def set_hugepages(number):
    with open(HUGEPAGES, "w", encoding="ascii") as file:
        file.write(str(number))


@contextlib.contextmanager
def reserved_hugepages(needed, say):
    """Sees to it that so many are free, and gives back afterwards what was added."""
    before, lacking = hugepages("Total"), needed - hugepages("Free")
    if lacking <= 0:
        yield
        return
    say(f"reserving {lacking} more hugepages of 2 MiB ({HUGEPAGES}) until the end")
    set_hugepages(before + lacking)
    reserved = hugepages("Total")
    try:
        if hugepages("Free") < needed:
            raise SystemExit(f"bench: the kernel has no memory for {needed} hugepages of 2 MiB; close other programs, "
                             "or reserve them right after the machine has started: "
                             f"echo {before + lacking} >{HUGEPAGES}")
        yield
    finally:
        if hugepages("Total") == reserved:
            set_hugepages(before)


# --- Others on our cores -----------------------------------------------------------------------------------------

def thread_times(pid):
    """{thread: (ran, waited)}: ns on a core, and ns ready to run while others had the core."""
    times = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                times[int(thread)] = tuple(map(int, file.read().split()[:2]))
    return times


class Watch:
    """How much of a core others had, whom the busiest thread of a process had to wait for.

    That is the thread that forwards, or that generates.  The other threads of the same process, which run on the same
    core, are part of what is measured: the time that they ran is no time that others took.
    """

    def __init__(self, pid, sample_seconds=0.15):
        self.pid = pid
        before = thread_times(pid)
        time.sleep(sample_seconds)
        self.before = thread_times(pid)
        self.thread = max(self.before, key=lambda one: self.before[one][0] - before.get(one, (0, 0))[0])
        self.share = 0.0

    def look(self):
        """Takes the figure until now; what it was stays, once the process is gone."""
        try:
            now = thread_times(self.pid)
        except OSError:
            return self.share
        if self.thread not in now or self.thread not in self.before:
            return self.share
        ran, waited = (after - before for after, before in zip(now[self.thread], self.before[self.thread]))
        siblings = sum(times[0] - self.before.get(thread, (0, 0))[0] for thread, times in now.items()
                       if thread != self.thread)
        self.share = max(0, waited - siblings) / max(1, ran + waited)
        return self.share

    def make_realtime(self):
        os.sched_setscheduler(self.thread, os.SCHED_FIFO, os.sched_param(1))


@contextlib.contextmanager
def on_core(core):
    """What is started meanwhile runs on that core only."""
    home = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, home)
