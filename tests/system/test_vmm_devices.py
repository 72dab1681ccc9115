# SPDX-License-Identifier: Apache-2.0
"""The devices of a guest of cordon-vmm, driven by the small guest: disks, random numbers, the balloon, both consoles,
power.
"""

import os
import socket
import subprocess

import pytest

from cordon import wait_for
from vmm import BZIMAGE, VMM, KERNEL, Vmm, mapped_kib

pytestmark = pytest.mark.kvm

MIB = 1 << 20
DISK_BYTES = 8 * MIB
GOOD = "write ok flush ok read same zeroes ok read same discard ok beyond failed"


@pytest.fixture
def new_vmm(tmp_path):
    made = []

    def make(name="guest", start=True, **options):
        one = Vmm(tmp_path, name, **options)
        made.append(one)
        if start:
            one.start()
        return one

    yield make
    for one in made:
        one.close()


def disk(tmp_path, size=DISK_BYTES, name="disk"):
    path = tmp_path / name
    path.write_bytes(b"")
    os.truncate(path, size)
    return path


# --- Kernels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [KERNEL, BZIMAGE], ids=["pvh", "bzimage"])
def test_it_boots_by_both_protocols(new_vmm, kernel):
    vmm = new_vmm(kernel=kernel, command_line="-- say hello; off", start=False)
    vmm.start(ready=False)
    status, outcome = vmm.ended()
    assert (status, outcome["outcome"]) == (0, "shutdown"), vmm.report()
    assert "> hello\n" in vmm.text()


@pytest.mark.parametrize("memory", [48, 3072, 4096])
def test_it_boots_in_little_and_in_much_memory(new_vmm, memory):
    assert new_vmm(memory=memory).command("say hello") == "hello"


def test_an_initrd_that_does_not_fit_is_refused_with_sizes(new_vmm, tmp_path):
    vmm = new_vmm(start=False, options=["--initrd", str(disk(tmp_path, 64 * MIB))])
    vmm.start(ready=False)
    status, outcome = vmm.ended()
    assert (status, outcome["outcome"]) == (1, "not-started")
    assert "of 65536 KiB does not fit" in outcome["reason"]


def test_an_initrd_costs_the_guest_nothing(new_vmm, tmp_path):
    assert new_vmm(options=["--initrd", str(disk(tmp_path, 8 * MIB))]).command("say hello") == "hello"


def test_a_command_line_that_is_too_long_is_refused(new_vmm):
    vmm = new_vmm(start=False, command_line="x" * 2048)
    vmm.start(ready=False)
    status, outcome = vmm.ended()
    assert status == 1
    assert "the command line has 2048 bytes, but this kernel takes only 2047" in outcome["reason"]


# --- Disks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direct", ["on", "off", "auto"])
def test_a_disk_takes_all_requests(new_vmm, tmp_path, direct):
    path = disk(tmp_path)
    vmm = new_vmm(options=["--disk", f"path={path},direct={direct},serial=d-{direct}"])
    assert vmm.command("block 0") == f"block: {DISK_BYTES // 512} sectors id d-{direct} {GOOD}"


def test_what_the_guest_writes_is_in_the_file_and_comes_back(new_vmm, tmp_path):
    path = disk(tmp_path)
    first = new_vmm("first", options=["--disk", f"path={path}"])
    assert first.command("block-write 0 1000 hello disk").startswith("block: ok")
    first.kill()
    with open(path, "rb") as file:
        file.seek(1000 * 512)
        assert file.read(11) == b"hello disk\0"
    assert new_vmm("second", options=["--disk", f"path={path}"]).command("block-read 0 1000") == "block: ok hello disk"


def test_what_is_discarded_is_a_hole_in_the_file(new_vmm, tmp_path):
    path = disk(tmp_path)
    vmm = new_vmm(options=["--disk", f"path={path}"])
    vmm.command("block 0")
    assert os.stat(path).st_blocks == 0


def test_a_read_only_disk_is_not_written(new_vmm, tmp_path):
    path = disk(tmp_path)
    path.chmod(0o400)
    vmm = new_vmm(options=["--disk", f"path={path},readonly=on"])
    assert "read-only write failed" in vmm.command("block 0")
    assert vmm.ask("status")["disks"][0]["read_only"]
    assert path.read_bytes() == bytes(DISK_BYTES)


def test_several_disks_are_in_order(new_vmm, tmp_path):
    options = []
    for i in range(3):
        options += ["--disk", f"path={disk(tmp_path, (i + 1) * MIB, f'disk{i}')},serial=number-{i}"]
    vmm = new_vmm(options=options)
    for i in range(3):
        assert f"block: {(i + 1) * 2048} sectors id number-{i} " in vmm.command(f"block {i}")
    assert vmm.command("block 3") == "block: no such disk"


def refusal(*options):
    result = subprocess.run([VMM, "--kernel", KERNEL, "--memory", "48", "--pages", "small", *options],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def test_two_guests_never_share_a_disk(new_vmm, tmp_path):
    path = disk(tmp_path)
    vmm = new_vmm(options=["--disk", f"path={path}"])
    message = refusal("--disk", f"path={path}")
    assert str(path) in message and "in use" in message
    assert vmm.command("block-write 0 1 still here").startswith("block: ok")


def test_disks_that_cannot_be_are_refused_by_name(tmp_path):
    assert "/nowhere/disk" in refusal("--disk", "path=/nowhere/disk")
    assert str(tmp_path) in refusal("--disk", f"path={tmp_path}")
    odd = disk(tmp_path, 1000, "odd")
    assert str(odd) in refusal("--disk", f"path={odd}")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: root only")
def test_a_full_host_is_an_error_to_the_guest_and_no_more(new_vmm, tmp_path):
    """Of a disk of 8 MiB the file system has room for sixteen pages."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    try:
        vmm = new_vmm(options=["--disk", f"path={disk(small)}"])
        answers = [vmm.command(f"block-write 0 {8 * i} page {i}").split()[1] for i in range(24)]
        assert answers[0] == "ok" and answers[-1] == "failed", answers
        assert vmm.command("block-read 0 0") == "block: ok page 0"
        assert vmm.ask("status")["state"] == "running"
        vmm.close()
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


# --- Random numbers, the balloon -----------------------------------------------------------------------------------


def test_random_numbers_come(new_vmm):
    assert new_vmm().command("rng") == "rng: random"


def test_without_devices_there_are_none(new_vmm):
    vmm = new_vmm(options=["--no-rng", "--no-balloon", "--no-console"])
    for command, answer in (("rng", "rng: no such device"), ("balloon follow", "balloon: no such device"),
                            ("console say x", "console: no such device")):
        assert vmm.command(command) == answer


def guest_kib(pid):
    """How much of the guest's memory the host has had to give."""
    return sum(mapped_kib(pid, True, "Rss:"))


def test_the_balloon_gives_memory_back_and_takes_it_again(new_vmm):
    vmm = new_vmm()
    assert vmm.command("balloon touch 24") == "balloon: touched"
    before = guest_kib(vmm.process.pid)
    assert vmm.ask("balloon", bytes=16 * MIB) == {"ok": True}
    assert vmm.command("balloon follow") == "balloon: 4096 pages"
    assert guest_kib(vmm.process.pid) <= before - 15 * 1024
    assert vmm.ask("status")["balloon_bytes"] == 16 * MIB
    assert vmm.command("balloon check 16") == "balloon: zeros"
    assert vmm.ask("balloon", bytes=0) == {"ok": True}
    assert vmm.command("balloon follow") == "balloon: 0 pages"
    assert vmm.ask("status")["balloon_bytes"] == 0


def test_free_pages_that_are_reported_go_back_to_the_host(new_vmm):
    vmm = new_vmm()
    vmm.command("balloon touch 16")
    before = guest_kib(vmm.process.pid)
    assert vmm.command("balloon report 16") == "balloon: reported"
    assert guest_kib(vmm.process.pid) <= before - 15 * 1024
    assert vmm.command("balloon check 16") == "balloon: zeros"


# --- Consoles --------------------------------------------------------------------------------------------------------


def attach(vmm, device):
    connection, answer = vmm._connect({"command": "console", "device": device})
    assert answer["ok"], answer
    return connection


def heard(connection, text):
    data = b""
    while text not in data:
        got = connection.recv(4096)
        assert got, data
        data += got
    return data


def test_the_console_carries_text_both_ways(new_vmm):
    vmm = new_vmm()
    with attach(vmm, "console") as console:
        assert vmm.command("console say hello host") == "console: said"
        heard(console, b"hello host\r\n")
        vmm.send("console hear")
        console.sendall(b"hello guest\n")
        assert vmm.reply() == "console: heard hello guest"


def test_several_watch_the_serial_port_and_late_ones_see_what_was(new_vmm):
    vmm = new_vmm()
    with attach(vmm, "serial") as first, attach(vmm, "serial") as second:
        for one in (first, second):
            heard(one, b"ready")
        second.sendall(b"say to all\n")
        for one in (first, second):
            heard(one, b"> to all")


# --- Power -----------------------------------------------------------------------------------------------------------


def test_the_power_button_is_a_wish(new_vmm):
    polite = new_vmm("polite")
    assert polite.ask("power-button") == {"ok": True}
    status, outcome = polite.ended()
    assert (status, outcome["outcome"]) == (0, "shutdown")
    assert "button\n" in polite.text()

    stubborn = new_vmm("stubborn", command_line="button=ignore")
    for _ in range(3):
        stubborn.ask("power-button")
    stubborn.wait_text("button\n")
    assert stubborn.command("say still here") == "still here"
    assert stubborn.ask("stop") == {"ok": True}
    assert stubborn.ended()[0] == 13


@pytest.mark.parametrize("command, status, outcome", [
    ("off", 0, "shutdown"), ("reset", 10, "reset"), ("die triple", 11, "guest-fault"), ("die page", 11, "guest-fault"),
    ("die nowhere", 11, "guest-fault")])
def test_each_end_has_its_name(new_vmm, command, status, outcome):
    vmm = new_vmm(command_line=f"-- wait 1; {command}", start=False)
    vmm.start(ready=False)
    ended, told = vmm.ended()
    assert (ended, told["outcome"]) == (status, outcome), vmm.report()
    assert told["reason"]
    assert bool(told.get("report")) == (status == 11)


@pytest.mark.parametrize("how", ["spin", "halt"])
def test_a_guest_that_hears_nothing_can_be_stopped(new_vmm, how):
    vmm = new_vmm()
    vmm.send(f"die {how}")
    vmm.wait_text("dies:")
    assert vmm.ask("status")["state"] == "running"
    assert vmm.ask("stop") == {"ok": True}
    assert vmm.ended()[0] == 13


def test_a_paused_guest_stands_still_and_goes_on(new_vmm):
    vmm = new_vmm()
    assert vmm.ask("pause") == {"ok": True}
    assert vmm.ask("status")["state"] == "paused"
    vmm.send("say awake")
    with pytest.raises(AssertionError):
        vmm.reply(0.5)
    assert vmm.ask("resume") == {"ok": True}
    assert vmm.reply() == "awake"


def test_nothing_is_left_behind(new_vmm, tmp_path):
    vmm = new_vmm(options=["--net", f"socket={tmp_path}/net"])
    assert os.path.exists(tmp_path / "net")
    vmm.ask("stop")
    vmm.ended()
    assert sorted(os.listdir(tmp_path)) == ["guest.messages", "guest.outcome", "guest.serial"]


# --- Misbehaviour --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["rng", "block"])
def test_a_driver_that_breaks_every_rule_finds_its_device_as_before(new_vmm, tmp_path, device):
    vmm = new_vmm(options=["--disk", f"path={disk(tmp_path)}"])
    for _ in range(5):
        answer = vmm.command(f"misbehave {device} all")
        assert answer.startswith("misbehaved: 15 kinds"), answer
        assert int(answer.split(", ")[1].split()[0]) >= 8
        assert vmm.command("rng") == "rng: random"
        assert GOOD in vmm.command("block 0")
    assert vmm.ask("status")["state"] == "running"


def test_many_clients_cannot_shut_others_out_of_the_guest(new_vmm):
    """The socket takes so many at once and no more; when they have gone, it answers again."""
    vmm = new_vmm()
    crowd = []
    for _ in range(40):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.connect(vmm.path("control"))
        crowd.append(one)
    for one in crowd:
        one.close()
    assert wait_for(lambda: vmm.ask("status")["ok"], 20)


# --- The bus ---------------------------------------------------------------------------------------------------------


def test_all_devices_that_there_may_be_are_on_the_bus_and_work(new_vmm, tmp_path):
    """16 cards, 16 disks and three others: more than the 31 devices of a bus, so that each has two functions."""
    options = []
    for number in range(16):
        options += ["--net", f"socket={tmp_path}/net{number}"]
        image = tmp_path / f"disk{number}"
        image.write_bytes(f"disk {number}".encode().ljust(MIB, b"\0"))
        options += ["--disk", f"path={image}"]
    vmm = new_vmm(options=options)
    assert vmm.command("pci") == "pci: 36 functions, 17 of them further ones"
    for number in range(16):
        assert vmm.command(f"block-read {number} 0") == f"block: ok disk {number}"
    assert vmm.command("rng") == "rng: random"
    assert len(vmm.ask("metrics")["devices"]) == 35
    assert vmm.ask("stop") == {"ok": True}
    assert vmm.ended()[0] == 13


def test_more_devices_than_there_may_be_are_refused_by_name(tmp_path):
    for option, key in (("--net", "socket"), ("--disk", "path")):
        vmm = Vmm(tmp_path, "g1", options=[word for number in range(17)
                                          for word in (option, f"{key}={tmp_path}/{number}")])
        vmm.start(ready=False)
        assert vmm.process.wait(timeout=10) == 2
        assert f"a guest may have at most 16 of {option}" in vmm.report()
