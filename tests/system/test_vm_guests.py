# SPDX-License-Identifier: Apache-2.0
"""Real guests under `cordon vm`: the small guest (tests/guest/) in cordon-vmm, in two zones of a switch.

     web1 (zone web) 10.0.0.1 --- vnic0.sock ---+
                                                +--- cordon-switchd, VLAN 10      web may ping db, and no more
     db1  (zone db)  10.0.0.2 --- vnic0.sock ---+

Commands are typed on the guests' serial ports by `cordon vm console`.  Needs /dev/kvm.
"""

import os
import shutil
import subprocess
import time

import pytest

from cordon import BUILD, CORDON, Switch, holds_for, process_is_alive, wait_for

GUEST = os.path.join(BUILD, "tests", "guest", "guest.elf")
BZIMAGE = os.path.join(BUILD, "tests", "guest", "guest.bzimage")
QEMU_IMG = shutil.which("qemu-img")

POLICY = """
tiers: [application]
zones: {web: {match: "zone=web"}, db: {match: "zone=db"}}
policies:
  - id: shop
    tier: application
    rules:
      - {id: web-pings-db, from: web, to: db, service: icmp/8, action: allow, log: all}
baseline: {between_zones: deny, within_zone: allow, log: all}
"""


def missing():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm cannot be used here"
    return None if os.path.exists(GUEST) else f"{GUEST} is missing; `make` builds it for the tests"


pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


class Host:
    """A host with guests."""

    def __init__(self, name):
        self.switch = Switch(name)
        self.switch.up()
        self.switch.add_network()
        self.switch.policy(POLICY)
        self.switch.on_close(lambda: self.switch.try_cordon("down", "--guests-only", "--timeout", "20"))

    def create(self, name, number, zone, *words, command="", kernel=GUEST, options=""):
        self.switch.cordon(
            "vm", "create", name, "--kernel", kernel, "--memory", "64M", "--command-line",
            f"ip=10.0.0.{number} six=fd00::{number} {options} -- {command}", "--nic",
            f"network=lan,mac=52:54:00:00:00:{number:02x},address=10.0.0.{number},address=fd00::{number},tag=zone={zone}", *words)

    def show(self, name):
        return self.switch.json("vm", "show", name)

    def wait_state(self, name, state, seconds=30):
        wait_for(lambda: self.show(name)["state"] == state, seconds, f"VM {name} {state}")
        return self.show(name)

    def console(self, name):
        return Console(self.switch, name)

    def said(self, name, text, seconds=30):
        """Waits until the guest has written this, now or before."""
        with self.console(name) as console:
            return console.read_until(text, seconds)


class Console:
    def __init__(self, switch, name):
        self.process = subprocess.Popen([CORDON, "vm", "console", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, env=switch.environment())
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def read_until(self, text, seconds=30, line=False):
        """Waits for the text; with `line`, until its line has ended as well."""
        def found():
            try:
                self.text += os.read(self.process.stdout.fileno(), 65536).decode("utf-8", "replace")
            except BlockingIOError:
                pass
            at = self.text.find(text)
            return at >= 0 and (not line or "\n" in self.text[at:])

        try:
            wait_for(found, seconds, f"'{text}' on the console", interval=0.02)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}") from error
        return self.text

    def command(self, line, answer, seconds=30):
        """Types a command; returns what came since."""
        self.read_until("ready")
        self.text = self.text[self.text.rfind("ready"):]
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.read_until(answer, seconds, line=True)


@pytest.fixture
def host(request):
    one = Host(request.node.name.removeprefix("test_")[:10])
    yield one
    one.switch.close()


def test_two_guests_in_two_zones(host):
    """Each is in its zone before its first frame: what the policy allows passes, the rest does not, and the log names
    the VMs."""
    host.create("web1", 1, "web", "--start")
    host.create("db1", 2, "db", "--start", kernel=BZIMAGE)
    host.said("db1", "ready")
    host.switch.wait_port("db1.0")
    with host.console("web1") as console:
        console.command("ping 10.0.0.2 3", "> ping 10.0.0.2: 3 of 3 answered")
        console.command("tcp 10.0.0.2 7 hello", "> tcp: silent")
    with host.console("db1") as console:
        assert "0 of 1 answered" in console.command("ping 10.0.0.1 1", "> ping 10.0.0.1: ")
    record, = host.switch.wait_log(kind="start", destination_address="10.0.0.2")[:1]
    assert record["source_vm_name"] == "web1" and record["destination_vm_name"] == "db1"
    assert record["source_vm_id"] == host.show("web1")["uuid"] and record["rule"] == "web-pings-db"
    record = host.switch.wait_log(kind="denied", source_address="10.0.0.2")[0]
    assert (record["source_vm_name"], record["destination_vm_name"]) == ("db1", "web1")
    assert (record["source_zone"], record["destination_zone"]) == ("db", "web")


def test_guest_life(host):
    """Power button, reset, triple fault, pause: as cordon-vmm tells of them."""
    host.create("a", 1, "web", "--start")
    host.said("a", "ready")
    host.switch.cordon("vm", "pause", "a")
    host.switch.cordon("vm", "resume", "a")
    host.switch.cordon("vm", "stop", "a")
    assert host.show("a")["last_outcome"] == "shutdown"
    host.switch.cordon("vm", "start", "a")
    first = host.show("a")["pid"]
    with host.console("a") as console:
        console.command("reset", "reset")
    vm = wait_for(lambda: (vm := host.show("a"))["restarts"] == 1 and vm["state"] == "running" and vm, 30, "the restart")
    assert vm["pid"] != first and vm["last_outcome"] == "reset"
    with host.console("a") as console:
        console.command("die triple", "dies")
    vm = host.wait_state("a", "failed")
    assert vm["last_outcome"] == "guest-fault" and "triple fault" in vm["error"]
    # One that ignores its button has its time, and no more.
    host.create("b", 2, "web", "--start", "--option", "stop-seconds=1", options="button=ignore")
    host.said("b", "ready")
    host.switch.cordon("vm", "stop", "b")
    assert host.show("b")["last_outcome"] == "stopped"


def test_triple_fault_in_a_loop(host):
    host.create("a", 1, "web", "--restart", "always", "--option", "restart-limit=2", command="die triple")
    host.switch.cordon("vm", "start", "a", "--no-wait")
    vm = host.wait_state("a", "failed", 60)
    assert vm["restarts"] == 2 and "triple fault" in vm["error"] and "3 times in a row" in vm["error"]
    assert not os.path.exists(f"/proc/{vm.get('pid', 0)}/exe")


def test_daemons_come_and_go(host):
    """Neither the switch's restart nor cordon-hostd's nor an upgrade of all disturbs a guest."""
    host.create("web1", 1, "web", "--start")
    host.create("db1", 2, "db", "--start")
    pids = [host.show(name)["pid"] for name in ("web1", "db1")]
    host.switch.kill("cordon-hostd")
    host.switch.kill("cordon-switchd")
    host.switch.up()
    host.switch.cordon("down", "--keep-connections")
    assert all(process_is_alive(pid) for pid in pids)
    host.switch.up()
    wait_for(lambda: [host.show(name).get("pid") for name in ("web1", "db1")] == pids, what="the take-over")
    for name in ("web1", "db1"):
        host.switch.wait_port(name + ".0")
    with host.console("web1") as console:
        console.command("ping 10.0.0.2 2", "> ping 10.0.0.2: 2 of 2 answered")
    assert all(host.show(name)["restarts"] == 0 for name in ("web1", "db1"))


def test_two_guests_on_one_disk(host, tmp_path):
    """The second is refused by the lock, with a sentence; when the first has stopped, it may."""
    disk = tmp_path / "a.img"
    disk.write_bytes(bytes(1 << 20))
    disk.chmod(0o666)
    host.create("a", 1, "web", "--start", "--disk", f"path={disk}")
    host.create("b", 2, "web", "--disk", f"path={disk}")
    message = host.switch.try_cordon("vm", "start", "b").stderr
    assert "VM b has failed" in message and str(disk) in message
    host.switch.cordon("vm", "stop", "a")
    host.switch.cordon("vm", "start", "b")


@pytest.mark.skipif(QEMU_IMG is None, reason="qemu-img (package qemu-utils) is missing")
@pytest.mark.parametrize("kind", ["qcow2", "vmdk"])
def test_disk_by_a_storage_daemon(host, tmp_path, kind):
    """A storage daemon comes and goes with the guest, and is in its group."""
    disk = tmp_path / f"a.{kind}"
    subprocess.run([QEMU_IMG, "create", "-q", "-f", kind, str(disk), "16M"], check=True)
    host.create("a", 1, "web", "--start", "--disk", f"path={disk},format={kind}")
    pid_file = f"{host.switch.run}/vm/a/disk0.pid"
    with open(pid_file, encoding="ascii") as file:
        pid = int(file.read())
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as one, open(f"/proc/{host.show('a')['pid']}/cgroup", encoding="ascii") as two:
        assert one.read() == two.read()
    # One that ends is started again.
    os.kill(pid, 9)
    new = wait_for(lambda: os.path.exists(pid_file) and int(open(pid_file, encoding="ascii").read() or 0) not in (0, pid)
                   and int(open(pid_file, encoding="ascii").read()), 20, "the next daemon")
    # The next cordon-hostd takes it over, too.
    host.switch.kill("cordon-hostd")
    host.switch.up()
    wait_for(lambda: host.show("a").get("pid"), what="the take-over")
    holds_for(lambda: process_is_alive(new), 1.5, "the daemon's running")
    host.switch.cordon("vm", "stop", "a", "--force")
    wait_for(lambda: not process_is_alive(new), what="the daemon's end")
    assert not os.path.exists(pid_file)


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


@pytest.mark.skipif(QEMU_IMG is None, reason="qemu-img (package qemu-utils) is missing")
def test_storage_daemons_end_with_their_guest(host, tmp_path):
    """They hold the image's lock until they have ended: the next start waits for that, whoever had started them, and nothing
    of them stays."""
    switch, disk = host.switch, tmp_path / "a.qcow2"
    subprocess.run([QEMU_IMG, "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
    host.create("a", 1, "web", "--disk", f"path={disk},format=qcow2")

    def daemon():
        with open(f"{switch.run}/vm/a/disk0.pid", encoding="ascii") as file:
            return int(file.read())

    for _ in range(3):
        switch.cordon("vm", "start", "a")
        switch.cordon("vm", "stop", "a", "--force")
    wait_for(lambda: not children_of(switch.pid("cordon-hostd")), 20, "the end of all children")
    # The daemon is left alone: cordon-hostd and the VMM are killed at once.
    switch.cordon("vm", "start", "a")
    old, vmm = daemon(), host.show("a")["pid"]
    switch.kill("cordon-hostd")
    os.kill(vmm, 9)
    switch.up()
    host.wait_state("a", "failed")
    wait_for(lambda: not process_is_alive(old), 20, "the end of the daemon that was left")
    switch.cordon("vm", "start", "a")
    # The same, and the VM is deleted meanwhile.
    old, vmm = daemon(), host.show("a")["pid"]
    switch.kill("cordon-hostd")
    os.kill(vmm, 9)
    switch.cordon("vm", "delete", "a", "--force")
    switch.up()
    wait_for(lambda: not process_is_alive(old), 20, "the end of the deleted VM's daemon")
    wait_for(lambda: not os.path.exists(f"{switch.run}/vm/a"), 20, "the end of its directory")


@pytest.mark.skipif(QEMU_IMG is None, reason="qemu-img (package qemu-utils) is missing")
def test_images_that_point_outside(host, tmp_path):
    """An image may name files in its own folder only; what is no image, or not there, is told by name."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    secret, base = outside / "secret.raw", inside / "base.qcow2"
    secret.write_bytes(bytes(1 << 20))
    run = [QEMU_IMG, "create", "-q"]
    subprocess.run([*run, "-f", "qcow2", str(base), "16M"], check=True)
    subprocess.run([*run, "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", str(inside / "good.qcow2")], check=True)
    subprocess.run([*run, "-f", "qcow2", "-b", str(secret), "-F", "raw", str(inside / "abs.qcow2")], check=True)
    subprocess.run([*run, "-f", "qcow2", "-b", "../outside/secret.raw", "-F", "raw", str(inside / "up.qcow2")], check=True)
    subprocess.run([*run, "-f", "qcow2", "-b", "up.qcow2", "-F", "qcow2", str(inside / "chain.qcow2")], check=True)
    (inside / "link.raw").symlink_to(secret)
    subprocess.run([*run, "-f", "qcow2", "-b", "link.raw", "-F", "raw", str(inside / "link.qcow2")], check=True)
    (inside / "text.vmdk").write_text('# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
                                      f'RW 2048 FLAT "{secret}" 0\n')
    (inside / "text.qcow2").write_text("I am no image, but a text.\n" * 20)
    host.create("a", 1, "web")
    for name, word in {"abs.qcow2": "outside of its folder", "up.qcow2": "outside of its folder", "chain.qcow2": "outside of its",
                       "link.qcow2": "outside of its folder", "text.vmdk": "as an extent", "text.qcow2": "is no qcow2 image",
                       "gone.qcow2": "cannot be read: No such file"}.items():
        host.switch.cordon("vm", "set", "a", "--disk", f"path={inside / name},format={name.rpartition('.')[2]}")
        message = host.switch.try_cordon("vm", "start", "a").stderr
        assert word in message and str(inside) in message, (name, message)
    host.switch.cordon("vm", "set", "a", "--disk", f"path={inside / 'good.qcow2'},format=qcow2")
    host.switch.cordon("vm", "start", "a")


def test_what_cannot_start(host, tmp_path):
    """Each a sentence that names the thing, told by `start`."""
    text, readable = tmp_path / "text", tmp_path / "disk"
    text.write_text("I am no kernel.\n" * 100)
    host.create("text", 1, "web", kernel=str(text))
    assert str(text) in host.switch.try_cordon("vm", "start", "text").stderr
    host.create("disk", 2, "web", "--disk", f"path={readable}")
    assert str(readable) in host.switch.try_cordon("vm", "start", "disk").stderr
    for name in ("text", "disk"):
        assert host.show(name)["last_outcome"] == "not-started"
        assert not [one for one in os.listdir(f"{host.switch.run}/vm/{name}") if one.endswith(".sock")]


def test_balloon(host):
    """A guest whose driver has not begun is asked all the same, and whoever asks is told; later it gives, and takes it again."""
    host.create("a", 1, "web", "--start")
    refused = host.switch.try_cordon("vm", "balloon", "a", "8M")
    assert refused.returncode != 0 and "its guest has no driver for the balloon" in refused.stderr
    assert host.show("a")["balloon"]["target_bytes"] == 8 << 20
    with host.console("a") as console:
        console.command("balloon touch 24", "balloon: touched")
    wait_for(lambda: host.show("a")["balloon"]["driver"], 30, "the driver")
    for asked in (8, 16, 0):
        host.switch.cordon("vm", "balloon", "a", f"{asked}M")
        with host.console("a") as console:
            console.command("balloon follow", f"balloon: {asked << 20 >> 12} pages")
        wait_for(lambda: host.show("a")["balloon"]["given_bytes"] == asked << 20, 30, f"{asked} MiB given")


def test_start_is_quick(host):
    """From the command to the first instruction and back nothing waits for a fixed time: of some starts one is quick, however
    busy the machine is."""
    host.create("a", 1, "web")
    seconds = []
    while not seconds or (seconds[-1] > 3 and len(seconds) < 5):
        start = time.monotonic()
        host.switch.cordon("vm", "start", "a")
        seconds.append(time.monotonic() - start)
        host.said("a", "ready")
        host.switch.cordon("vm", "stop", "a", "--force")
    assert seconds[-1] <= 3, seconds
