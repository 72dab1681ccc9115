# SPDX-License-Identifier: Apache-2.0
"""cordon-vmm as a process: how it ends and what it says, that it stops whatever the guest does, that it leaves nothing
behind, and what it costs.

Guests here are a few instructions in an ELF file with a PVH note, made by the tests:

    PVH entry, 32 bits ──▶ bytes to COM1 ──▶ power off, reset, ud2, a loop, hlt
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest

from cordon import BUILD, wait_for
from vmm import mapped_kib

VMM = os.path.join(BUILD, "cordon-vmm")
ENTRY = 0x100000
PLAIN = os.path.basename(os.path.realpath(BUILD)) == "build"

POWER_OFF = bytes.fromhex("66ba0006b034ee")
ACPI_RESET = bytes.fromhex("66ba0206b001ee")
KEYBOARD_RESET = bytes.fromhex("b0fee664")
SPIN = bytes.fromhex("ebfe")
SLEEP = bytes.fromhex("faf4ebfd")
UD2 = bytes.fromhex("0f0b")
ASK_PORTS = bytes.fromhex("66ba0006ecebfd")

needs_kvm = pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="there is no /dev/kvm here")


def serial(text):
    """Instructions that write to COM1."""
    return bytes.fromhex("66baf803") + b"".join(bytes([0xB0, byte, 0xEE]) for byte in text.encode())


def kernel(path, code):
    """An ELF file whose PVH entry is `code`, at 1 MiB."""
    note = struct.pack("<III", 4, 4, 18) + b"Xen\0" + struct.pack("<I", ENTRY)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, ENTRY, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 4096, ENTRY, ENTRY, len(code), len(code), 4096)
    notes = struct.pack("<IIQQQQQQ", 4, 4, 64 + 112, 0, 0, len(note), len(note), 4)
    path.write_bytes((header + load + notes + note).ljust(4096, b"\0") + code)
    return str(path)


def command(path, *options):
    return [VMM, "--kernel", path, "--memory", "16", "--pages", "small", *options]


def run(path, *options, seconds=60):
    return subprocess.run(command(path, *options), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds, check=False)


def start(path, *options):
    return subprocess.Popen(command(path, *options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def state(path):
    """What the control socket there says of the guest, or None if there is nobody."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(path)
        connection.sendall(b'{"command":"status"}\n')
        with connection.makefile() as answer:
            return json.loads(answer.readline())["state"]
    return None


def ended(process, seconds=20):
    output, message = process.communicate(timeout=seconds)
    return process.returncode, output, message


# --- the ends ------------------------------------------------------------------------------------------------------


@needs_kvm
@pytest.mark.parametrize("code, status, outcome, words", [
    (POWER_OFF, 0, "shutdown", "switched itself off"),
    (ACPI_RESET, 10, "reset", "ACPI's reset register"),
    (KEYBOARD_RESET, 10, "reset", "keyboard controller"),
    (UD2, 11, "guest-fault", "triple fault at rip 0x"),
])
def test_ends_are_told_apart(tmp_path, code, status, outcome, words):
    path = kernel(tmp_path / "kernel", serial("hello\n") + code + SPIN)
    result = run(path, "--outcome", str(tmp_path / "outcome"))
    assert result.returncode == status, result.stderr
    assert result.stdout == "hello\n"
    assert words in result.stderr
    told = json.loads((tmp_path / "outcome").read_text())
    assert (told["outcome"], told["status"]) == (outcome, status)
    assert words in told["reason"]
    assert told["console_tail"] == "hello\n"


@needs_kvm
def test_a_fault_is_reported_with_registers(tmp_path):
    result = run(kernel(tmp_path / "kernel", bytes.fromhex("bb78563412") + UD2))
    assert result.returncode == 11
    for part in ("rbx   0000000012345678", "rip   0000000000100005", "cr3", "gdt", "code at rip: 0f 0b"):
        assert part in result.stderr
    assert all(len(line) <= 180 for line in result.stderr.splitlines())


@needs_kvm
@pytest.mark.parametrize("code", [SPIN, SLEEP, ASK_PORTS], ids=["spins", "sleeps", "asks ports"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whatever_it_does_a_signal_stops_it(tmp_path, code, number):
    process = start(kernel(tmp_path / "kernel", serial("x") + code), "--vcpus", "2")
    assert process.stdout.read(1) == "x"
    process.send_signal(number)
    status, _, message = ended(process)
    assert status == 13, message
    assert signal.Signals(number).name in message


@needs_kvm
def test_a_paused_guest_runs_no_instruction_and_can_be_stopped(tmp_path):
    process = start(kernel(tmp_path / "kernel", serial("x") + POWER_OFF), "--paused", "--control", f"{tmp_path}/control")
    wait_for(lambda: state(f"{tmp_path}/control") == "paused", 20, "the pause")
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    status, output, _ = ended(process)
    assert (status, output) == (13, "")


@needs_kvm
def test_guests_that_fault_one_after_another_leave_nothing(tmp_path):
    path = kernel(tmp_path / "kernel", UD2)
    before = sorted(os.listdir(tmp_path))
    for _ in range(20):
        assert run(path, "--control", f"{tmp_path}/control").returncode == 11
    assert run(path, "--net", f"socket={tmp_path}/net").returncode == 11
    assert sorted(os.listdir(tmp_path)) == before
    # The last one's broker outlives it by a moment.
    wait_for(lambda: subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False).stdout == b"", 20,
             "the end of all processes")


# --- what cannot be ------------------------------------------------------------------------------------------------


def refused(*words, status=1):
    result = subprocess.run([VMM, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                            check=False)
    assert result.returncode == status, result.stderr
    assert result.stderr.startswith("cordon-vmm: ")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def test_a_wrong_command_line_is_refused_by_name():
    assert "--kernel is missing" in refused(status=2)
    assert "'0'" in refused("--kernel", "k", "--vcpus", "0", status=2)
    assert "107" in refused("--kernel", "k", "--control", "/" + "x" * 120, status=2)
    assert "xsave" in refused("--kernel", "k", "--cpu-mask", "xsav", status=2)


def test_help_fits_and_names_units_and_defaults():
    text = subprocess.run([VMM, "--help"], capture_output=True, text=True, check=True).stdout
    assert max(map(len, text.splitlines())) <= 100
    assert "MiB" in text and "default" in text
    assert subprocess.run([VMM, "--version"], capture_output=True, text=True, check=True).stdout.startswith("cordon-vmm ")


@needs_kvm
def test_a_kernel_that_is_none_is_refused(tmp_path):
    assert "/nowhere/kernel" in refused("--kernel", "/nowhere/kernel")
    text = tmp_path / "text"
    text.write_text("no kernel\n" * 1000)
    assert str(text) in refused("--kernel", str(text))
    whole = kernel(tmp_path / "kernel", serial("hello\n") + POWER_OFF)
    cut = tmp_path / "cut"
    cut.write_bytes(open(whole, "rb").read()[:100])
    assert str(cut) in refused("--kernel", str(cut))


@needs_kvm
def test_more_memory_than_the_host_has_is_refused(tmp_path):
    path = kernel(tmp_path / "kernel", POWER_OFF)
    assert "this host has only" in refused("--kernel", path, "--memory", "8192G", "--pages", "small")
    assert "nr_hugepages" in refused("--kernel", path, "--memory", "8192G", "--pages", "huge")


@needs_kvm
def test_what_was_not_started_is_told_in_the_outcome(tmp_path):
    assert "/nowhere" in refused("--kernel", "/nowhere", "--outcome", str(tmp_path / "outcome"))
    told = json.loads((tmp_path / "outcome").read_text())
    assert (told["outcome"], told["status"]) == ("not-started", 1)
    assert "/nowhere" in told["reason"]


def within(preparation, *words):
    """In a mount namespace of its own, after `preparation`."""
    line = f'{preparation} && exec "$@"'
    return subprocess.run(["unshare", "-m", "sh", "-c", line, "sh", VMM, *words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a mount namespace: root only")
def test_a_host_without_kvm_is_told_what_to_do(tmp_path):
    result = within("mount -t tmpfs none /dev", "--kernel", "k", "--serial", "none")
    assert result.returncode == 1
    assert "there is no /dev/kvm" in result.stderr and "kvm_intel" in result.stderr


@needs_kvm
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a mount namespace: root only")
def test_a_device_that_is_not_kvm_is_found_out(tmp_path):
    result = within("mount --bind /dev/null /dev/kvm", "--kernel", "k", "--serial", "none")
    assert result.returncode == 1
    assert "not KVM" in result.stderr


@needs_kvm
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: root only")
def test_a_user_who_may_not_is_told_so(tmp_path):
    # The build may be where that user cannot go.
    program = tmp_path / "cordon-vmm"
    shutil.copy(VMM, program)
    for folder in [tmp_path, *tmp_path.parents][:3]:
        os.chmod(folder, 0o755)
    result = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", program,
                             "--kernel", "k"], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "group kvm" in result.stderr


# --- what it costs -------------------------------------------------------------------------------------------------


def test_it_is_linked_with_neither_dpdk_nor_open_vswitch():
    libraries = subprocess.run(["ldd", VMM], capture_output=True, text=True, check=True).stdout
    symbols = subprocess.run(["nm", VMM], capture_output=True, text=True, check=True).stdout
    assert "libc.so" in libraries and "machine_create" in symbols
    assert "rte_" not in libraries and "openvswitch" not in libraries
    assert " rte_" not in symbols and "ovsdb" not in symbols and "dpif" not in symbols


def processor_time(command):
    """Seconds of processor time of a process, the least of ten."""
    def once():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(10))


@needs_kvm
@pytest.mark.skipif(not PLAIN, reason="instrumented programs are slower")
def test_a_whole_life_costs_less_than_to_start_an_interpreter(tmp_path):
    """Of a guest that switches itself off at once: its start, and all that ends it as well.  The bound is 8 ms where
    Python takes 10 to do nothing; docs/hv.md has the milliseconds."""
    guest = processor_time([VMM, "--kernel", kernel(tmp_path / "kernel", POWER_OFF), "--serial", "none"])
    assert guest <= 0.8 * processor_time(["/usr/bin/python3", "-c", "pass"])


def private_kib(pid):
    """Memory that only this process has, but for the guest's."""
    return sum(mapped_kib(pid, False, "Private_Clean:", "Private_Dirty:"))


def switches(pid):
    """How often its threads have been scheduled."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="utf-8") as lines:
            total += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return total


@needs_kvm
@pytest.mark.skipif(not PLAIN, reason="instrumented programs are larger")
def test_an_idle_guest_costs_no_processor_and_little_memory(tmp_path):
    process = start(kernel(tmp_path / "kernel", serial("x") + SLEEP))
    try:
        assert process.stdout.read(1) == "x"
        time.sleep(0.5)
        assert private_kib(process.pid) <= 5 * 1024
        # The kernel's own threads for this guest are awake now and then, this process never.
        wait_for(lambda: quiet_for(process.pid, 1.0), 30, "an idle guest's process stands still", 0)
    finally:
        process.terminate()
        ended(process)


def quiet_for(pid, seconds):
    before = switches(pid)
    time.sleep(seconds)
    return switches(pid) == before
