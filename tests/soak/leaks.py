# SPDX-License-Identifier: Apache-2.0
"""What a switch holds: memory, descriptors, buffers; and what a run leaves on the machine."""

import collections
import glob
import os
import re
import statistics
import subprocess
import time

from cordon import wait_for

HUGEPAGES_NEEDED = 700  # Of 2 MiB, for a switch with its table of connections.
GROWTH_BYTES = 6 << 20  # What counts as level, from one part of a life to the next.
SAMPLE_SECONDS = 1.0
SAMPLES_NEEDED = 8
WATCHED = ("cordon-switchd", "ovsdb-server")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


# --- The machine -------------------------------------------------------------------------------------------------


def hugepages(name):
    """The kernel's count of "Total" or "Free" hugepages."""
    found = re.search(rf"^HugePages_{name}: +(\d+)", read("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) if found else 0


def others_use_hugepages(own):
    """True if a process that is not among `own` has some mapped."""
    for path in glob.glob("/proc/[0-9]*/status"):
        try:
            found = re.search(r"^HugetlbPages:\s+(\d+)", read(path), re.MULTILINE)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if found and int(found.group(1)) and int(path.split("/")[2]) not in own:
            return True
    return False


def machine():
    return {"hugepages_free": hugepages("Free"), "others": others_use_hugepages(())}


def processes_with(text):
    """The command lines in which a text stands, this process's excepted."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            line = read(path).replace("\0", " ").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text in line and int(path.split("/")[2]) != os.getpid():
            found.append(line)
    return found


def namespaces():
    result = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in result.stdout.splitlines() if line]


def devices():
    return os.listdir("/sys/class/net")


def check_machine(course):
    """After everything has been taken down."""
    promises, directory = course.promises, course.switch_directory
    mark = f"{os.getpid() % 1000000:x}x"  # In all names that cordon.unique() makes.
    names = [name for name in namespaces() + devices()
             if any(name.startswith(prefix + mark) for prefix in ("sk-", "sk", "cdn-", "cd"))]
    promises.check("namespaces and devices are gone", not names, ", ".join(names) or "none left")
    left = processes_with(directory)
    promises.check("processes are gone", not left, "; ".join(left) or "none left")
    sockets = [line for line in read("/proc/net/unix").splitlines() if directory in line]
    promises.check("sockets are gone", not sockets, "; ".join(sockets) or "none left")
    mounts = [line for line in read("/proc/mounts").splitlines() if directory in line]
    promises.check("mounts are gone", not mounts, "; ".join(mounts) or "none left")
    check_hugepages(course)


def check_hugepages(course):
    before = course.before["hugepages_free"]
    if not course.huge:
        course.promises.check("hugepages are given back", True, "none used")
        return
    if course.before["others"] or others_use_hugepages(()):
        course.promises.check("hugepages are given back", True, "not counted: other programs use some")
        return
    for _ in range(50):
        if hugepages("Free") >= before:
            break
        time.sleep(0.1)
    course.promises.check("hugepages are given back", hugepages("Free") >= before,
                          f"{before} free before, {hugepages('Free')} after")


# --- A process -----------------------------------------------------------------------------------------------------


def anonymous_bytes(pid):
    """Memory of its own: tables in files and hugepages are of a fixed size, and not in it."""
    return 1024 * int(re.search(r"^RssAnon:\s+(\d+)", read(f"/proc/{pid}/status"), re.MULTILINE).group(1))


def kind_of(target):
    """Descriptors of one kind are alike: a socket's or pipe's number says nothing, and log files come and go."""
    if "/log/" in target:
        return "log file"
    return re.sub(r":\[\d+\]", "", target)


def descriptors(pid):
    """How many of each kind a process has open."""
    kinds = collections.Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            kinds[kind_of(os.readlink(f"/proc/{pid}/fd/{name}"))] += 1
        except FileNotFoundError:
            pass
    kinds.pop("log file", None)
    return kinds


def settled_descriptors(pid):
    """Once no command's connection is among them."""
    while True:
        before = descriptors(pid)
        time.sleep(0.5)
        if descriptors(pid) == before:
            return before


def difference(after, before, threads):
    """What there is more of.  A thread that waits for the first time makes itself a pipe, and keeps it."""
    found = {kind: after[kind] - before[kind] for kind in after if after[kind] > before[kind]}
    if after["pipe"] <= 2 * (threads + 1):
        found.pop("pipe", None)
    return found


def is_thread_sanitized(pid):
    return "libtsan" in read(f"/proc/{pid}/maps")


class Life:
    """One life of the switch, from now on: the same ports at its end as at its beginning."""

    def __init__(self, course):
        self.switch = course.switch
        self.pid = self.switch.pid()
        self.before = settled_descriptors(self.pid)
        self.samples = {name: [] for name in WATCHED}
        self.sampled_at = 0.0

    def sample(self):
        if time.monotonic() - self.sampled_at < SAMPLE_SECONDS:
            return
        self.sampled_at = time.monotonic()
        for name in WATCHED:
            pid = self.switch.pid(name)
            if pid:
                self.samples[name].append(anonymous_bytes(pid))

    def end(self, promises):
        promises.check("one process to the end", self.pid == self.switch.pid(),
                       f"process {self.pid}, {self.switch.pid()}")
        self._check_descriptors(promises)
        if is_thread_sanitized(self.pid):
            promises.check("memory is level", True, "not told: ThreadSanitizer's shadow of it grows")
            return
        for name in WATCHED:
            self._check_memory(promises, name)

    def _check_descriptors(self, promises):
        def changed():
            return difference(descriptors(self.pid), self.before, len(os.listdir(f"/proc/{self.pid}/task")))

        try:
            wait_for(lambda: not changed(), 15, "the descriptors")
        except AssertionError:
            pass
        promises.check("descriptors are given back", not changed(),
                       f"{sum(self.before.values())} before, {sum(descriptors(self.pid).values())} after "
                       f"{changed() or ''}")

    def _check_memory(self, promises, name):
        """Level: the last quarter of the life needs no more than the one before."""
        samples = self.samples[name]
        if len(samples) < SAMPLES_NEEDED:
            promises.check(f"memory of {name} is level", True, f"too short to tell: {len(samples)} samples")
            return
        quarter = len(samples) // 4
        last, third = statistics.median(samples[-quarter:]), statistics.median(samples[-2 * quarter:-quarter])
        promises.check(f"memory of {name} is level", last - third <= GROWTH_BYTES,
                       f"{samples[0] >> 20} MiB at first, {int(third) >> 20} and then {int(last) >> 20} at the end")


def check_buffers(course):
    """No port is open: every packet buffer is in its pool."""
    def buffers():
        return course.switch.status()["buffers"]

    try:
        wait_for(lambda: buffers()["free"] == buffers()["total"], 10, "all buffers")
    except AssertionError:
        pass
    seen = buffers()
    course.promises.check("packet buffers are given back", seen["free"] == seen["total"],
                          f"{seen['free']} of {seen['total']} are free")
