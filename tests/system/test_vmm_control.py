# SPDX-License-Identifier: Apache-2.0
"""A guest is commanded, asked and watched, and what runs it is held in its sandbox.

    clients ──▶ control socket ──▶ cordon-vmm ──▶ guest (tests/guest): answers lines on its serial port
                                      └── broker: removes the sockets, however cordon-vmm ends
"""

import contextlib
import fcntl
import json
import os
import pty
import resource
import select
import signal
import socket
import subprocess
import termios
import time

import pytest

from cordon import holds_for, wait_for
from test_vmm_process import POWER_OFF, kernel
from vmm import VMM, Vmm

pytestmark = pytest.mark.kvm

NOBODY = 65534
DAC_OVERRIDE = 1 << 1


@pytest.fixture
def new_vmm(tmp_path):
    made = []

    def make(name="g1", ready=True, command_line="", **options):
        made.append(Vmm(tmp_path, name, command_line=command_line, **options))
        return made[-1].start(ready)

    yield make
    for vmm in made:
        vmm.close()


@pytest.fixture
def vmm(new_vmm):
    return new_vmm()


def enter(vmm):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(vmm.path("control"))
    connection.settimeout(30)
    return connection


def is_reachable(vmm):
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), contextlib.closing(enter(vmm)):
        return True
    return False


def line(connection):
    answer = b""
    while not answer.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            break
        answer += byte
    return answer


def read_until(connection, text, limit=16 << 20):
    received = b""
    while text not in received:
        data = connection.recv(65536)
        assert data, received[-1000:]
        received += data
        assert len(received) < limit
    return received


# --- commands --------------------------------------------------------------------------------------------------------


def test_status_says_what_the_guest_has(new_vmm, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    uuid = "8c5ad1f4-0f4b-4a3c-9d5e-1f6a7b8c9d0e"
    vmm = new_vmm(options=["--uuid", uuid, "--disk", f"path={disk},readonly=on",
                           "--net", f"socket={tmp_path}/net,mac=02:00:00:00:00:01,queues=2,mtu=1400"])
    status = vmm.ask("status")
    assert status["ok"] and (status["name"], status["uuid"]) == ("g1", uuid)
    assert (status["state"], status["pid"]) == ("running", vmm.process.pid)
    assert (status["vcpus"], status["memory_bytes"], status["huge_pages"]) == (1, vmm.memory << 20, False)
    assert 0 < status["uptime_ms"] < 60000
    net, = status["nets"]
    assert (net["mac"], net["connected"], net["queues"], net["mtu"]) == ("02:00:00:00:00:01", False, 2, 1400)
    assert net["socket"] == f"{tmp_path}/net"
    assert status["disks"] == [{"name": "disk0", "path": str(disk), "bytes": 1 << 20, "read_only": True}]
    assert status["balloon_bytes"] == 0


def test_metrics_count(vmm):
    first = vmm.ask("metrics")
    assert vmm.command("say hello") == "hello"
    second = vmm.ask("metrics")
    port = [metrics["vcpus"][0]["exits"]["port"] for metrics in (first, second)]
    output = [metrics["terminals"][0]["output_bytes"] for metrics in (first, second)]
    assert port[1] > port[0] and output[1] >= output[0] + len("> hello\n")
    assert second["vcpus"][0]["cpu_ns"] > 0 and second["cpu_ns"] >= second["cpu_ns_before_guest"] > 0
    assert [device["type"] for device in second["devices"]] == ["rng", "balloon", "console"]
    assert [device["interrupts_refused"] for device in second["devices"]] == [0, 0, 0] and second["lines_refused"] == 0


def test_a_paused_guest_stands_still(vmm):
    assert vmm.command("say hello") == "hello"
    assert vmm.ask("pause") == {"ok": True}
    assert vmm.ask("status")["state"] == "paused"
    used = vmm.ask("metrics")["vcpus"][0]["cpu_ns"]
    vmm.send("say again")
    holds_for(lambda: "> again" not in vmm.text(), 0.5, "the guest is silent")
    # What its thread needs to fall asleep.
    assert vmm.ask("metrics")["vcpus"][0]["cpu_ns"] - used < 5_000_000
    assert "the guest is paused" in vmm.ask("pause")["error"]
    assert vmm.ask("resume") == {"ok": True}
    assert vmm.reply() == "again"
    assert not vmm.ask("resume")["ok"]


def test_a_guest_may_wait_before_its_first_instruction(new_vmm):
    vmm = new_vmm(ready=False, options=["--paused"])
    wait_for(lambda: is_reachable(vmm), 20, "the control socket")
    wait_for(lambda: vmm.ask("status")["state"] == "paused", 20, "it waits")
    holds_for(lambda: vmm.text() == "", 0.3, "the guest has not begun")
    assert vmm.ask("resume")["ok"]
    vmm.wait_text("ready\n")


def test_the_power_button_shuts_the_guest_down(vmm):
    assert vmm.ask("power-button") == {"ok": True}
    status, outcome = vmm.ended()
    assert (status, outcome["outcome"]) == (0, "shutdown")


def test_a_guest_that_ignores_the_button_is_stopped(new_vmm):
    vmm = new_vmm(command_line="button=ignore")
    assert vmm.ask("power-button")["ok"]
    holds_for(lambda: vmm.process.poll() is None, 0.5, "the guest goes on")
    assert vmm.ask("stop") == {"ok": True}
    status, outcome = vmm.ended()
    assert (status, outcome["outcome"], outcome["status"]) == (13, "stopped", 13)
    assert "control socket" in outcome["reason"]
    assert outcome["console_tail"].startswith("guest:")


def test_a_balloon_is_asked_for_what_there_is(new_vmm):
    vmm = new_vmm()
    assert vmm.ask("balloon", bytes=1 << 20)["ok"]
    assert "cannot give back" in vmm.ask("balloon", bytes=1 << 40)["error"]
    assert "'bytes'" in vmm.ask("balloon")["error"]
    without = new_vmm("g2", options=["--no-balloon", "--no-console", "--no-rng"])
    assert "no balloon" in without.ask("balloon", bytes=4096)["error"]
    assert "no virtio console" in without.ask("console", device="console")["error"]
    assert without.ask("metrics")["devices"] == []


def test_what_is_no_command_is_answered_and_forgotten(vmm):
    with contextlib.closing(enter(vmm)) as connection:
        for words in (b"", b"\0\xff\xfe", b"GET / HTTP/1.1", b"{", b'{"command":"format"}', b"[" * 2000):
            connection.sendall(words + b"\n")
            assert json.loads(line(connection))["ok"] is False
        connection.sendall(b"x" * 4096)
        assert "at most" in json.loads(line(connection))["error"]
        assert line(connection) == b""
    for _ in range(200):
        with contextlib.closing(enter(vmm)) as connection:
            connection.sendall(b'{"command":"sta')
    assert vmm.ask("status")["ok"]


def test_only_its_user_may_command_it(vmm):
    assert os.stat(vmm.path("control")).st_mode & 0o777 == 0o600
    assert os.stat(vmm.path("serial")).st_mode & 0o777 == 0o600
    assert os.stat(vmm.path("outcome")).st_mode & 0o777 == 0o600


# --- consoles --------------------------------------------------------------------------------------------------------


def test_several_watch_and_any_may_type(vmm):
    with contextlib.closing(enter(vmm)) as first, contextlib.closing(enter(vmm)) as second:
        for connection in (first, second):
            connection.sendall(b'{"command":"console"}\n')
            assert json.loads(line(connection)) == {"ok": True}
            assert b"ready\n" in read_until(connection, b"ready\n")
        first.sendall(b"say one\n")
        assert b"> one" in read_until(first, b"> one") and b"> one" in read_until(second, b"> one")
        second.sendall(b"say two\n")
        assert b"> two" in read_until(first, b"> two") and b"> two" in read_until(second, b"> two")


def test_who_does_not_read_stops_neither_the_guest_nor_others(new_vmm, tmp_path):
    """The guest does nothing but write to its serial port."""
    vmm = new_vmm(ready=False, kernel=kernel(tmp_path / "kernel", bytes.fromhex("66baf803" "b078" "ee" "ebfd")),
                  options=["--serial", "none"])
    wait_for(lambda: is_reachable(vmm), 20, "the control socket")
    deaf = enter(vmm)
    deaf.sendall(b'{"command":"console"}\n')
    wait_for(lambda: vmm.ask("metrics")["terminals"][0]["output_bytes"] > 600_000, 60, "the guest goes on writing")
    told = read_until(deaf, b"bytes lost here: they were not read in time]")
    assert json.loads(told.split(b"\n")[0]) == {"ok": True}
    deaf.close()
    assert vmm.ask("status")["ok"]


def test_output_is_kept_for_who_comes_late_and_bytes_stay_as_they_are(vmm):
    assert vmm.command("say caf\u00e9 \x1b[31m") == "caf\u00e9 \x1b[31m"
    with contextlib.closing(enter(vmm)) as late:
        late.sendall(b'{"command":"console"}\n')
        assert "> caf\u00e9 \x1b[31m".encode() in read_until(late, b"[31m\n")


def start_on_terminal(tmp_path):
    """A shell that runs cordon-vmm on a terminal of its own: both ends of that, the shell, the guest, the terminal's
    settings before, and a pipe whose end is the shell's."""
    ours, theirs = pty.openpty()
    vmm = Vmm(tmp_path, "g1")
    words = [word for word in vmm.words() if word not in ("--serial", vmm.path("serial"))]

    def lead():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    before = modes(theirs)
    # The shell stays, and with it the terminal, until it is told to end.
    end, told = os.pipe()
    shell = subprocess.Popen(["sh", "-c", f'"$@"; status=$?; read word </dev/fd/{end}; exit $status', "sh", *words], stdin=theirs,
                             stdout=theirs, stderr=subprocess.PIPE, preexec_fn=lead, pass_fds=[end])
    os.close(end)
    return ours, theirs, shell, vmm, before, told


def modes(terminal):
    """The settings, but for the speeds."""
    return termios.tcgetattr(terminal)[:4]


def see(terminal, text):
    """Waits for this on a terminal."""
    received = b""
    while text not in received:
        assert select.select([terminal], [], [], 30)[0], received
        received += os.read(terminal, 4096)


@pytest.mark.parametrize("end", ["escape", "kill"])
def test_a_terminal_is_the_guests_and_is_given_back(tmp_path, end):
    ours, theirs, shell, vmm, before, told = start_on_terminal(tmp_path)
    try:
        see(ours, b"ready")
        assert modes(theirs) != before
        # Ctrl-C is the guest's, too.
        os.write(ours, b"\x03\nsay hello\n")
        see(ours, b"> hello")
        pid = vmm.ask("status")["pid"]
        if end == "escape":
            os.write(ours, b"\x1d")
        else:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: modes(theirs) == before, 10, "the terminal is as it was")
        os.close(told)
        told = None
        assert shell.wait(timeout=30) == (13 if end == "escape" else 128 + signal.SIGKILL)
        assert (b"Ctrl-]" in shell.stderr.read()) == (end == "escape")
    finally:
        shell.kill()
        shell.wait()
        shell.stderr.close()
        if told is not None:
            os.close(told)
        os.close(ours)
        os.close(theirs)


def test_input_from_a_file_is_typed(tmp_path):
    """The guest repeats what is typed, and is off at a full stop."""
    echo = bytes.fromhex("66bafd03" "ec" "a801" "74f7" "66baf803" "ec" "ee" "3c2e" "75ed")
    typed = tmp_path / "typed"
    typed.write_bytes(bytes(range(1, 46)) * 200 + b".")
    words = [VMM, "--kernel", kernel(tmp_path / "kernel", echo + POWER_OFF), "--memory", "16", "--pages", "small"]
    with open(typed, "rb") as file:
        result = subprocess.run(words, stdin=file, capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == typed.read_bytes()


# --- the sandbox -----------------------------------------------------------------------------------------------------


def fields(pid, task=None):
    """What /proc says of a process, or of one of its threads."""
    where = f"/proc/{pid}/task/{task}/status" if task else f"/proc/{pid}/status"
    with open(where, encoding="utf-8") as file:
        return dict(entry.rstrip("\n").split(":\t", 1) for entry in file if ":\t" in entry)


def broker_of(vmm):
    """The process id of a guest's broker."""
    pid = vmm.process.pid
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        child, = file.read().split()
    return int(child)


def test_nothing_is_left_to_the_process(vmm):
    pid = vmm.process.pid
    for task in os.listdir(f"/proc/{pid}/task"):
        status = fields(pid, task)
        assert status["Uid"].split() == [str(NOBODY)] * 4
        assert status["Gid"].split() == [str(NOBODY)] * 4
        assert status["Groups"].split() == []
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert os.listdir(f"/proc/{pid}/root/") == []
    for space in ("mnt", "net", "ipc", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{space}") != os.readlink(f"/proc/self/ns/{space}")
    with open(f"/proc/{pid}/limits", encoding="utf-8") as file:
        core, = (entry.split()[4:6] for entry in file if entry.startswith("Max core file size"))
    assert core == ["0", "0"]


def test_descriptors_lead_nowhere_but_to_what_was_asked_for(vmm):
    pid = vmm.process.pid
    targets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    files = {target for target in targets if target.startswith("/")}
    kinds = ("anon_inode:", "socket:", "/memfd:guest", "/dev/kvm", "/dev/null")
    assert {file for file in files if not file.startswith(kinds)} == {
        vmm.path("serial"), vmm.path("outcome"), vmm.path("messages")}
    assert all(target.startswith(kinds + ("/",)) for target in targets)


def test_the_broker_keeps_two_rights_and_no_descriptors(vmm):
    broker = broker_of(vmm)
    status = fields(broker)
    assert status["Name"] == "cordon-broker"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == DAC_OVERRIDE
    assert int(status["CapBnd"], 16) == 0 or int(status["CapBnd"], 16) == DAC_OVERRIDE
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert len(os.listdir(f"/proc/{broker}/fd")) == 1
    assert os.getsid(broker) == broker


def test_the_broker_outlives_a_killed_process_by_a_moment(new_vmm, tmp_path):
    vmm = new_vmm(options=["--net", f"socket={tmp_path}/net"])
    broker = broker_of(vmm)
    assert os.path.exists(vmm.path("control")) and os.path.exists(f"{tmp_path}/net")
    vmm.process.send_signal(signal.SIGKILL)
    vmm.process.wait()
    wait_for(lambda: not os.path.exists(vmm.path("control")) and not os.path.exists(f"{tmp_path}/net"), 20,
             "the sockets are gone")
    wait_for(lambda: not os.path.exists(f"/proc/{broker}"), 20, "and the broker")


def test_a_guest_goes_on_without_its_broker(vmm):
    os.kill(broker_of(vmm), signal.SIGKILL)
    assert vmm.command("say hello") == "hello"
    assert vmm.ask("stop")["ok"]
    assert vmm.ended()[0] == 13


def test_another_user_may_be_named(new_vmm):
    vmm = new_vmm(options=["--user", "12345"])
    assert fields(vmm.process.pid)["Uid"].split() == ["12345"] * 4
    result = subprocess.run([VMM, "--kernel", vmm.kernel, "--user", "no-such-user", "--serial", "none"],
                            capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1 and "no user 'no-such-user'" in result.stderr


def test_what_a_host_forbids_is_told_and_not_done_without(tmp_path):
    """As root in a container: no CAP_SYS_ADMIN."""
    vmm = Vmm(tmp_path, "g1", command_line="-- off")
    words = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-all", *vmm.words()]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "cannot be left: Operation not permitted" in result.stderr and "--no-sandbox" in result.stderr
    assert not os.path.exists(vmm.path("control"))
    result = subprocess.run([*words, "--no-sandbox"], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


def test_two_at_one_socket_are_refused(new_vmm, tmp_path):
    first = new_vmm()
    other = Vmm(tmp_path, "g2")
    words = [first.path("control") if word == other.path("control") else word for word in other.words()]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1 and "another process listens at" in result.stderr
    assert first.ask("status")["ok"]


def test_a_client_holds_little_memory(vmm):
    """Sixteen who ask and never listen."""
    before = resident(vmm.process.pid)
    clients = [enter(vmm) for _ in range(15)]
    for client in clients:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                client.send(b'{"command":"metrics"}\n' * 1000)
    assert vmm.ask("status")["ok"]
    assert resident(vmm.process.pid) - before < 1 << 20
    for client in clients:
        client.close()


def resident(pid):
    """Private memory of a process, in bytes, but for the guest's."""
    with open(f"/proc/{pid}/statm", encoding="utf-8") as file:
        words = file.read().split()
    return (int(words[1]) - int(words[2])) * resource.getpagesize()


def test_a_client_that_comes_and_goes_costs_nothing(vmm):
    """Descriptors and memory after a thousand connections are what they were."""
    descriptors = count_descriptors(vmm)

    def ask_often(times):
        for _ in range(times):
            vmm.ask("status")
        # The last one's end may be seen a moment after its answer.
        wait_for(lambda: count_descriptors(vmm) == descriptors, 20, "the last connection's end")

    ask_often(100)
    before = resident(vmm.process.pid)
    ask_often(1000)
    assert resident(vmm.process.pid) - before < 64 << 10


def count_descriptors(vmm):
    return len(os.listdir(f"/proc/{vmm.process.pid}/fd"))
