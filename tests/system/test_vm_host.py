# SPDX-License-Identifier: Apache-2.0
"""What cordon-hostd makes of its host, of its database, and of what VMMs say: KVM that is missing, memory that guests give back,
what they use, rows that nobody should write, and what is handed on to a VMM.

The same stand-ins as in test_vm.py, which tells of the guests' lives.
"""

import os
import subprocess
import time

import pytest

from cordon import BUILD, holds_for, wait_for
from database import transact
from vm_host import KERNEL, SMALL_GUEST, Watch, stand_ins

# --- A host without KVM ------------------------------------------------------------------------------------------

HIDE_KVM = {
    "none": ("mount -t tmpfs none /dev; for n in null:3 zero:5 urandom:9; do mknod -m 666 /dev/${n%:*} c 1 ${n#*:}; done",
             "mknod -m 666 /dev/kvm c 10 232", "there is no /dev/kvm"),
    "another": ("mount --bind /dev/null /dev/kvm", "umount /dev/kvm", "/dev/kvm is there, but it is not KVM"),
}


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="there is no /dev/kvm here")
@pytest.mark.parametrize("kind", HIDE_KVM)
def test_host_without_kvm(guests, kind):
    """What is missing is said, by the command and by the state; guests are not started over and over; and once it is there,
    they start."""
    hide, show, sentence = HIDE_KVM[kind]
    switch = guests.switch
    guests.kill_hostd()
    guests.start_hostd(before=hide, vmm=os.path.join(BUILD, "cordon-vmm"))
    guests.create("a", "--restart", "always", "--option", "restart-limit=2", kernel=SMALL_GUEST, memory="64M")
    assert sentence in guests.refused("start", "a")
    vm = guests.wait_state("a", "failed", 20)
    assert vm["last_outcome"] == "not-started" and vm["restarts"] == 2
    assert sentence in vm["error"] and "3 times in a row" in vm["error"]
    assert "guests cannot run on this host: /dev/kvm" in switch.try_cordon("status").stdout
    holds_for(lambda: switch.log_file("cordon-hostd").count("VMM started") == 3, 2, "being left alone")
    assert not [name for name in os.listdir(guests.directory("a")) if name.endswith(".sock")]
    subprocess.run(["nsenter", "--mount", "--target", str(switch.pid("cordon-hostd")), "sh", "-c", show], check=True)
    switch.cordon("vm", "start", "a")
    assert guests.show("a").get("error") is None and "guests cannot run" not in switch.try_cordon("status").stdout
    switch.cordon("vm", "stop", "a", "--force")


# --- Memory given back -------------------------------------------------------------------------------------------


def balloon(guests, name):
    found = guests.show(name)["balloon"]
    return [found["wanted_bytes"] >> 20] + [found[key] >> 20 for key in ("target_bytes", "given_bytes") if key in found]


def test_balloon(guests):
    """What a guest is to give back is told to its VMM, also to the next one, and by the next cordon-hostd."""
    switch = guests.switch
    guests.create("a", memory="64M")
    said = switch.cordon("vm", "balloon", "a", "16M")
    assert "VM a is stopped: it is to give 16.0 MiB back once it runs" in said and balloon(guests, "a") == [16]
    switch.cordon("vm", "start", "a")
    wait_for(lambda: balloon(guests, "a") == [16, 16, 16], what="what was wanted before the start")
    said = switch.cordon("vm", "balloon", "a", "24")
    assert "is to give 24.0 MiB back" in said and balloon(guests, "a")[:2] == [24, 24]
    wait_for(lambda: balloon(guests, "a") == [24, 24, 24], what="what it gives")
    assert "24.0 MiB to be given back, 24.0 MiB given" in switch.cordon("vm", "show", "a")
    wait_for(lambda: guests.show("a")["statistics"].get("balloon0.actual-bytes") == 24 << 20, what="the statistics")
    # Another cordon-hostd finds out what the VMM was told, and tells it what came since.
    guests.kill_hostd()
    switch.cordon("vm", "balloon", "a", "8", "--no-wait")
    guests.start_hostd()
    wait_for(lambda: balloon(guests, "a") == [8, 8, 8], what="the new target")
    assert "is to have all its memory" in switch.cordon("vm", "balloon", "a", "0") and balloon(guests, "a")[:2] == [0, 0]
    switch.cordon("vm", "stop", "a")
    assert balloon(guests, "a") == [0]


def test_balloon_refusals(guests):
    """Each reason why nothing is given back is told by the command, and by the state for as long as it holds."""
    switch = guests.switch
    guests.create("big", "--start", memory="64M")
    for size, words in {"64M": "is to give 64 MiB back, and has 64 MiB", "1G": "1024 MiB back, and has 64", "lots": "no size"}.items():
        assert words in guests.refused("balloon", "big", size)
    assert "there is no VM 'nobody'" in guests.refused("balloon", "nobody", "1M")
    # More than it was started with, as its memory was changed meanwhile.
    switch.cordon("vm", "set", "big", "--memory", "128M")
    assert "its VMM refuses: this guest cannot" in guests.refused("balloon", "big", "100M", "--timeout", "8")
    assert "refuses" in guests.show("big")["error"] and "VM big is running: it is to give 100" in switch.try_cordon("status").stdout
    assert "must keep" in guests.refused("set", "big", "--memory", "64M")
    switch.cordon("vm", "balloon", "big", "32M")
    wait_for(lambda: "error" not in guests.show("big"), what="the end of the trouble")
    guests.create("none", "--start", "--option", "balloon=off")
    assert "to have no balloon" in guests.refused("balloon", "none", "8M")
    switch.cordon("vm", "set", "none", "--option", "balloon=on")
    assert "was started without a balloon" in guests.refused("balloon", "none", "8M", "--timeout", "8")
    assert "to have no balloon" in guests.refused("set", "none", "--option", "balloon=off")
    guests.create("idle", "--start", behave="no-driver")
    assert "has no driver for the balloon" in guests.refused("balloon", "idle", "8M")
    assert balloon(guests, "idle") == [8, 8, 0] and "no driver" in guests.show("idle")["error"]


# --- Statistics --------------------------------------------------------------------------------------------------


def test_statistics_in_one_transaction(guests):
    """What all guests use is written together, and not at all where nothing is other than before."""
    switch = guests.switch
    for i in range(4):
        guests.create(f"g{i}")
    for i in range(4):
        switch.cordon("vm", "start", f"g{i}")
        time.sleep(0.3)  # Not all at once.
    wait_for(lambda: all(vm["statistics"].get("vcpu0.exits.io") == 5 for vm in switch.json("vm", "list")), 30, "statistics")
    watch = Watch(switch, ["statistics"])
    rows = [len(update) for update in watch.look(11)]
    if switch.status()["hostd"]["control_groups"] != "none":
        assert len(rows) <= 3 and sum(rows) >= 5, rows
    # Without control groups only the stand-ins count, who always say the same.
    guests.kill_hostd()
    guests.start_hostd(before="umount -R /sys/fs/cgroup || true")
    wait_for(lambda: all("pid" in vm and "cpu_ms" not in vm["statistics"] for vm in switch.json("vm", "list")), 30, "the take-over")
    watch.look(1)  # What came until now.
    watch.updates.clear()
    assert watch.look(7) == []


# --- What the database may have -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../victim", "..", "a/b", ""])
def test_names_that_lead_elsewhere(guests, name):
    """The database takes any name; cordon-hostd makes and removes no files elsewhere, and looks after the others."""
    switch = guests.switch
    victim = os.path.join(switch.run, "victim")
    os.mkdir(victim)
    for file in ("log", "outcome", "precious"):
        with open(os.path.join(victim, file), "w", encoding="ascii") as out:
            out.write(file)
    guests.create("good")
    row = transact(switch, {"op": "select", "table": "VM", "where": [["name", "==", "good"]]})[0]["rows"][0]
    row = {key: value for key, value in row.items() if not key.startswith("_")}
    row.update(name=name, wanted="running", start_request=1)
    transact(switch, {"op": "insert", "table": "VM", "row": row})
    switch.cordon("vm", "start", "good")
    transact(switch, {"op": "delete", "table": "VM", "where": [["name", "==", name]]})
    switch.cordon("vm", "stop", "good")
    assert sorted(os.listdir(victim)) == ["log", "outcome", "precious"]
    assert os.path.exists(os.path.join(switch.run, "db.sock")) and not os.path.exists(os.path.join(switch.run, "vm", "a"))
    assert [port["name"] for port in switch.json("port", "list")] == ["good.0"]


def test_what_cannot_be_in_a_row(guests):
    """The database takes what `cordon vm` would not write.  Such a VM does not start, which is said; nothing is written
    again and again, and other guests are looked after."""
    switch = guests.switch
    guests.create("good")
    for name in ("twins", "comma", "mac", "relative"):
        guests.create(name, "--disk", "path=/srv/a.img", "--disk", "path=/srv/b.img", nics=("network=lan", "network=lan,tag=zone=web"))

    def break_vnic(name, place, **columns):
        vm, = transact(switch, {"op": "select", "table": "VM", "where": [["name", "==", name]]})[0]["rows"]
        for _, uuid in vm["vnics"][1]:
            transact(switch, {"op": "update", "table": "VM_Vnic", "row": columns,
                              "where": [["_uuid", "==", ["uuid", uuid]], ["position", "==", place]]})

    def break_disk(name, place, **columns):
        vm, = transact(switch, {"op": "select", "table": "VM", "where": [["name", "==", name]]})[0]["rows"]
        for _, uuid in vm["disks"][1]:
            transact(switch, {"op": "update", "table": "VM_Disk", "row": columns,
                              "where": [["_uuid", "==", ["uuid", uuid]], ["position", "==", place]]})

    break_vnic("twins", 1, position=0)
    break_vnic("mac", 1, mac="52:54:00:00:00:01,socket=/run/other.sock")
    break_disk("comma", 1, serial="S1,readonly=off")
    break_disk("relative", 1, path="etc/shadow")
    watch = Watch(switch, [], "Port")
    for name, words in {"twins": "two of its vNICs are number 0", "mac": "vNIC 1 has a comma", "comma": "disk 1 has a comma",
                        "relative": "disk 1 has no absolute path"}.items():
        message = guests.refused("start", name)
        assert words in message and f"cordon vm set {name}" in message
        assert guests.show(name)["last_outcome"] == "not-started"
    switch.cordon("vm", "start", "good")
    watch.look(1)
    watch.updates.clear()
    assert len(watch.look(3)) == 0, "ports that are written again and again"
    assert len(stand_ins(switch.run)) == 1


def test_what_is_no_text(guests):
    """What a VMM says may be any bytes; the database would refuse them, and with them all that the host has observed."""
    guests.create("a", "--start", behave="gibberish=count")
    guests.create("b", behave="gibberish=refuse")
    assert "the ??" in guests.refused("start", "b")
    guests.create("c", "--start")
    vm = wait_for(lambda: (vm := guests.show("a"))["statistics"].get("good") == 4 and vm, 15, "the counters that have names")
    assert not [name for name in vm["statistics"] if not name.isascii() or len(name) > 100]
    assert "refused what was observed" not in guests.switch.log_file("cordon-hostd")


# --- What is handed on -------------------------------------------------------------------------------------------


def test_vmm_gets_what_is_wanted(guests):
    """Every setting reaches the VMM's command line, word by word, through no shell."""
    guests.create("a", "--start", "--option", "rng=off,user=games", "--irqchip", "split", "--disk", "path=/srv/a b;$(reboot).img,readonly=on,serial=S1",
                  "--cpu-mask", "xsave,smap", behave="console=ttyS0 'quoted' $(reboot) ; x", vcpus=3, memory="512M",
                  pages="small", initrd=KERNEL, nics=("network=lan,mac=52:54:00:00:00:09,queues=2,mtu=1400",))
    directory = guests.directory("a")
    with open(f"/proc/{guests.show('a')['pid']}/cmdline", encoding="ascii") as file:
        words = file.read().split("\0")[2:-1]
    assert words == [
        "--name", "a", "--uuid", guests.show("a")["uuid"], "--vcpus", "3", "--memory", "512", "--pages", "small",
        "--kernel", KERNEL, "--initrd", KERNEL, "--command-line", "console=ttyS0 'quoted' $(reboot) ; x", "--cpu-mask", "xsave,smap",
        "--net", f"socket={directory}/vnic0.sock,mac=52:54:00:00:00:09,queues=2,mtu=1400",
        "--disk", "path=/srv/a b;$(reboot).img,direct=auto,readonly=on,serial=S1", "--no-rng", "--irqchip", "split", "--serial", "none",
        "--control", f"{directory}/control.sock", "--outcome", f"{directory}/outcome", "--user", "games", "--paused"]


def test_vmm_inherits_nothing(guests):
    """It leads a session of its own, has no descriptor of cordon-hostd's, little of its environment, and is in a group of
    its own."""
    guests.create("a", "--start")
    pid = guests.show("a")["pid"]
    with open(f"/proc/{pid}/environ", encoding="utf-8") as file:
        names = {entry.split("=")[0] for entry in file.read().split("\0") if entry}
    assert "PATH" in names and not {"HOME", "CORDON_RUNDIR", "CORDON_BUILD"} & names
    assert os.getsid(pid) == pid
    for name in ("0", "1", "2"):
        assert os.readlink(f"/proc/{pid}/fd/{name}") in ("/dev/null", f"{guests.directory('a')}/log")
    hostd = guests.switch.pid("cordon-hostd")
    theirs = {os.readlink(f"/proc/{hostd}/fd/{fd}") for fd in os.listdir(f"/proc/{hostd}/fd")}
    mine = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert not {name for name in theirs & mine if name.startswith(("socket:", "anon_inode", guests.switch.run))}
    if "control_groups" in (status := guests.switch.status()["hostd"]) and status["control_groups"] != "none":
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
            assert "/vm-a" in file.read()
        stats = wait_for(lambda: guests.show("a")["statistics"], 10, "statistics")
        assert stats["memory_bytes"] > 0 and stats["cpu_ms"] > 0 and stats["vcpu0.exits.io"] == 5


def test_control_groups_of_version_2(guests, tmp_path):
    """The same with the kernel's newer control groups.  Here the older ones have the controllers, so that is hidden."""
    switch, controllers = guests.switch, tmp_path / "controllers"
    with open("/proc/mounts", encoding="ascii") as file:
        mounts = [line.split() for line in file]
    unified = next((mount[1] for mount in mounts if mount[2] == "cgroup2"), None)
    if unified is None:
        pytest.skip("no control groups of version 2 are mounted")
    old = [mount[1] for mount in mounts if mount[2] == "cgroup"]
    controllers.write_text("cpu memory pids\n")
    guests.kill_hostd()
    guests.start_hostd(before="\n".join([f"umount {path}" for path in old] + [f"mount --bind {controllers} {unified}/cgroup.controllers"]))
    assert switch.status()["hostd"]["control_groups"].startswith("version 2: " + unified)
    guests.create("a", "--start")
    group = f"/cordon/{switch.run.strip('/').replace('/', '-')}/vm-a"
    with open(f"/proc/{guests.show('a')['pid']}/cgroup", encoding="ascii") as file:
        assert f"0::{group}\n" in file.read()
    assert wait_for(lambda: guests.show("a")["statistics"].get("cpu_ms"), 15, "the CPU time") > 0
    # Nothing of it is in cordon-hostd's own group, which somebody else may have to put the next one into.
    with open(f"/proc/{switch.pid('cordon-hostd')}/cgroup", encoding="ascii") as file:
        assert "/cordon/" not in file.read()
    switch.cordon("vm", "stop", "a")
    wait_for(lambda: not os.path.exists(unified + group), what="the group's end")


def test_file(guests):
    """A VM from a file; errors with line and column."""
    switch = guests.switch
    switch.cordon("vm", "create", "-f", "-", "--memory", "64M", text=f"""
name: web1
memory: 1G
kernel: {KERNEL}
restart: on-failure
nics:
  - network: lan
    addresses: [10.0.0.1, "fd00::1"]
    tags: [zone=web]
disks:
  - path: /srv/a.img
    readonly: true
""")
    vm = guests.show("web1")
    assert vm["memory_bytes"] == 64 << 20 and vm["nics"][0]["addresses"] == ["10.0.0.1", "fd00::1"]
    assert vm["disks"][0]["read_only"] and vm["restart"] == "on-failure"
    result = switch.try_cordon("vm", "create", "-f", "-", text="name: x\nmemory: lots\n")
    assert result.returncode == 6 and "-:2:9: memory 'lots'" in result.stderr
    result = switch.try_cordon("--rundir", "/" + "d" * 40, "--db", f"unix:{switch.run}/db.sock", "vm", "create", "v" * 60,
                               "--kernel", KERNEL)
    assert result.returncode == 6 and "has 118 characters, and a socket's may have 107" in result.stderr
