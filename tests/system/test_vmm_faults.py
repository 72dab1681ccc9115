# SPDX-License-Identifier: Apache-2.0
"""cordon-vmm fails itself, or the disk that its outcome goes to is full: the outcome is whole, or there is none.

A fault is made from outside: a tracer takes a thread's stack pointer away.  Then only a handler with a stack of its own
can tell of it.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess

import pytest

from cordon import wait_for
from vmm import Vmm

pytestmark = pytest.mark.kvm

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="traces a process and mounts a file system: root only")

PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_ATTACH, PTRACE_DETACH = 12, 13, 16, 17
REGISTERS = 27
ORIG_RAX, RIP, RSP = 15, 16, 19
WALL = 0x40000000


@pytest.fixture
def new_vmm(tmp_path):
    """Makes guests that are ended with the test."""
    made = []

    def make(name="g1", **options):
        vmm = Vmm(tmp_path, name, **options)
        made.append(vmm)
        return vmm.start()

    yield make
    for vmm in made:
        vmm.close()


# --- Faults of the process ------------------------------------------------------------------------------------------


def ptrace(request, thread, data=None):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def lose_stack(thread):
    """The thread goes on where there is no program, with a stack where there is no memory."""
    registers = (ctypes.c_ulonglong * REGISTERS)()
    ptrace(PTRACE_ATTACH, thread)
    os.waitpid(thread, WALL)
    ptrace(PTRACE_GETREGS, thread, ctypes.addressof(registers))
    registers[ORIG_RAX] = 2 ** 64 - 1
    registers[RIP], registers[RSP] = 0, 8
    ptrace(PTRACE_SETREGS, thread, ctypes.addressof(registers))
    ptrace(PTRACE_DETACH, thread)


def thread_of(vmm, name):
    for thread in os.listdir(f"/proc/{vmm.process.pid}/task"):
        with open(f"/proc/{vmm.process.pid}/task/{thread}/comm", encoding="utf-8") as file:
            if file.read().strip() == name:
                return int(thread)
    raise AssertionError(f"no thread {name}")


@as_root
@pytest.mark.parametrize("name", ["cordon-vmm", "vcpu0", "vcpu1"])
def test_a_thread_that_has_lost_its_stack_is_told_of(new_vmm, name):
    vmm = new_vmm(options=["--vcpus", "2"])
    lose_stack(thread_of(vmm, name))
    status, outcome = vmm.ended()
    assert (status, outcome["outcome"], outcome["status"]) == (12, "vmm-fault", 12)
    assert "its stack is used up, or lost (SIGSEGV)" in outcome["reason"]
    assert outcome["report"].startswith("at instruction 0x0 ")
    assert outcome["console_tail"].endswith("ready\n")
    assert outcome["reason"] in vmm.report()


# --- Full disks -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_file_system(folder, size):
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(path):
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@as_root
def test_a_disk_that_is_full_by_then_has_the_outcome_whole(new_vmm, tmp_path):
    folder = tmp_path / "small"
    with small_file_system(folder, "256k"):
        vmm = new_vmm(options=["--outcome", folder / "outcome"])
        assert (folder / "outcome").stat().st_size == 0
        fill(folder / "more")
        vmm.process.send_signal(signal.SIGTERM)
        assert vmm.process.wait(timeout=10) == 13
        outcome = json.loads((folder / "outcome").read_text())
        assert outcome["outcome"] == "stopped" and "ready\n" in outcome["console_tail"]


@as_root
def test_a_disk_that_is_full_before_is_refused(tmp_path):
    folder = tmp_path / "small"
    with small_file_system(folder, "64k"):
        fill(folder / "more")
        vmm = Vmm(tmp_path, "g1", options=["--outcome", folder / "outcome"])
        vmm.start(ready=False)
        assert vmm.process.wait(timeout=10) == 1
        wait_for(lambda: not os.path.exists(vmm.path("control")), 5, "the control socket gone")
        assert f"there is no room for the outcome file '{folder}/outcome'" in vmm.report()
        assert (folder / "outcome").stat().st_size == 0
