# SPDX-License-Identifier: Apache-2.0
"""Guests as they are wanted, and what cordon-hostd makes of that: ports, VMMs, ends, restarts, take-overs.

     cordon vm ...            cordon-hostd                 stand_in_vmm.py
    -------------> database <--------------> control.sock  (a VMM without a guest)
                      ^                                        | vnic0.sock
                      +-------- cordon-switchd ----------------+

The stand-in does what its command line says (stand_in_vmm.py), so that each end can be had at will.
"""

import json
import os
import pty
import signal
import socket
import subprocess
import time

import pytest

from cordon import BUILD, CORDON, holds_for, process_is_alive, wait_for
from database import transact

HOSTD = os.path.join(BUILD, "cordon-hostd")
STAND_IN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stand_in_vmm.py")
KERNEL = "/etc/hostname"  # Any file: the stand-in only looks whether it is there.


class Guests:
    """A switch with a cordon-hostd that starts stand-ins."""

    def __init__(self, switch):
        self.switch = switch
        self.start_hostd()
        switch.on_close(self.end_all)

    def start_hostd(self, *options, before=None, vmm=STAND_IN):
        """`before` is done by a shell in a mount namespace of cordon-hostd's own."""
        run, state = self.switch.run, self.switch.state
        own = ["unshare", "--mount", "sh", "-ec", before + '\nexec "$@"', "sh"] if before else []
        subprocess.run([*own, HOSTD, f"--rundir={run}", f"--db=unix:{run}/db.sock", f"--vmm={vmm}",
                        f"--log-file={state}/cordon-hostd.log", "-vconsole:off", "--detach", *options], check=True,
                       env=self.switch.environment())

    def kill_hostd(self, sig=signal.SIGKILL):
        self.switch.kill("cordon-hostd", sig)

    def create(self, name, *words, behave="", nics=("network=lan",), **options):
        for option, value in {"kernel": KERNEL, "command_line": behave, **options}.items():
            words += ("--" + option.replace("_", "-"), str(value))
        for nic in nics:
            words += ("--nic", nic)
        self.switch.cordon("vm", "create", name, *words)

    def show(self, name):
        return self.switch.json("vm", "show", name)

    def state(self, name):
        return self.show(name)["state"]

    def wait_state(self, name, state, seconds=20):
        wait_for(lambda: self.state(name) == state, seconds, f"VM {name} {state}")
        return self.show(name)

    def refused(self, *words):
        result = self.switch.try_cordon("vm", *words)
        assert result.returncode != 0, result.stdout
        return result.stderr

    def directory(self, name):
        return os.path.join(self.switch.run, "vm", name)

    def tell(self, name, word="end"):
        """To a stand-in: that its guest is to end now, or that it is to "listen"."""
        with open(os.path.join(self.directory(name), word), "w", encoding="ascii"):
            pass

    def start_in_vain(self, name, sentence):
        """It is started, but cannot run yet; whoever waits is told why."""
        self.switch.cordon("vm", "start", name, "--no-wait")
        wait_for(lambda: sentence in self.show(name).get("error", ""), 40, sentence)
        result = self.switch.try_cordon("vm", "start", name, "--timeout", "1")
        assert result.returncode == 7 and sentence in result.stderr
        assert self.state(name) == "starting"

    def end_all(self):
        """Whatever runs, whoever still knows of it."""
        pid = self.switch.pid("cordon-hostd")
        if pid:
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not process_is_alive(pid), 10, "the end of cordon-hostd")
        for one in stand_ins(self.switch.run):
            os.kill(one, signal.SIGKILL)


def stand_ins(run):
    """The processes of all stand-ins of a switch."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if STAND_IN.encode() in words and any(word.startswith(run.encode() + b"/") for word in words):
            found.append(int(name))
    return [pid for pid in found if process_is_alive(pid)]


@pytest.fixture
def guests(new_switch, request):
    switch = new_switch(request.node.name.removeprefix("test_")[:12], up=False)
    switch.up("--no-guests")
    switch.add_network()
    return Guests(switch)


# --- Life ------------------------------------------------------------------------------------------------------


def test_life(guests):
    """Created, started, paused, resumed, stopped, deleted: each command waits until it is so."""
    switch = guests.switch
    guests.create("web1", nics=("network=lan,mac=52:54:00:00:00:01,address=10.0.0.1,tag=zone=web,queues=2,mtu=1400,"
                                "connection-limit=9", "network=lan"))
    assert guests.state("web1") == "stopped"
    # Its ports are there before it runs, with everything that the switch must know of it.
    port = wait_for(lambda: next((p for p in switch.json("port", "list") if p["name"] == "web1.0"), None), what="the port")
    vm = guests.show("web1")
    assert port["macs"] == ["52:54:00:00:00:01"] and port["addresses"] == ["10.0.0.1"] and port["tags"] == ["zone=web"]
    assert port["vm_name"] == "web1" and port["vm_id"] == vm["uuid"] and port["role"] == "vnic"
    assert port["options"] == {"socket": f"{switch.run}/vm/web1/vnic0.sock", "queues": "2", "mtu": "1400"}
    assert port["limits"] == {"connections": 9}
    switch.cordon("vm", "start", "web1")
    vm = guests.show("web1")
    assert vm["state"] == "running" and vm["pid"] in stand_ins(switch.run)
    assert [nic["mac"] for nic in vm["nics"]][0] == "52:54:00:00:00:01" and vm["nics"][1]["mac"].startswith("52:54:00:")
    switch.cordon("vm", "pause", "web1")
    assert guests.state("web1") == "paused"
    switch.cordon("vm", "resume", "web1")
    assert guests.state("web1") == "running"
    switch.cordon("vm", "stop", "web1")
    vm = guests.show("web1")
    assert vm["state"] == "stopped" and vm["last_outcome"] == "shutdown" and "pid" not in vm and "error" not in vm
    assert not stand_ins(switch.run)
    switch.cordon("vm", "delete", "web1")
    assert switch.json("vm", "list") == [] and switch.json("port", "list") == []
    wait_for(lambda: not os.path.exists(guests.directory("web1")), what="the directory's end")


def test_ports_follow_vnics(guests):
    """A port is changed through its VM only; what may change under traffic does."""
    switch = guests.switch
    switch.add_network("dmz", 20)
    guests.create("a", "--start", nics=("network=lan,tag=zone=web",))
    pid = guests.show("a")["pid"]
    for words in (("set", "a.0", "--tag", "zone=db"), ("del", "a.0")):
        result = switch.try_cordon("port", *words)
        assert result.returncode == 6 and "belongs to VM a" in result.stderr and "cordon vm" in result.stderr
    switch.cordon("vm", "set", "a", "--nic", "0,network=dmz,tag=zone=db,address=10.0.0.7")
    wait_for(lambda: (p := switch.port("a.0"))["tags"] == ["zone=db"] and p["network"] == "dmz"
             and p["addresses"] == ["10.0.0.7"], what="the change")
    # One more vNIC, for the next start; the MAC that was made up stays.
    mac = switch.port("a.0")["macs"]
    switch.cordon("vm", "set", "a", "--nic", "network=lan")
    wait_for(lambda: len(switch.json("port", "list")) == 2, what="the second port")
    assert switch.port("a.0")["macs"] == mac and guests.show("a")["pid"] == pid
    # What a guest that runs cannot follow waits for its next start: the spoof guard knows it by its old MAC.
    switch.cordon("vm", "set", "a", "--nic", "0,mac=52:54:00:00:00:09,queues=2,tag=zone=web")
    wait_for(lambda: switch.port("a.0")["tags"] == ["zone=web"], what="the change")
    assert switch.port("a.0")["macs"] == mac and switch.port("a.0")["options"]["queues"] == "1"
    switch.cordon("vm", "stop", "a")
    wait_for(lambda: switch.port("a.0")["macs"] == ["52:54:00:00:00:09"], what="the new MAC")
    assert switch.port("a.0")["options"]["queues"] == "2"
    switch.cordon("vm", "start", "a")
    # A file has the last word on how many there are.
    switch.try_cordon("vm", "set", "a", "-f", "-", text="nics: [{network: lan}]\n")
    wait_for(lambda: len(switch.json("port", "list")) == 1, what="the second port's end")


def test_first_instruction_waits_for_the_switch(guests):
    """No guest runs before the switch has taken its ports in; who waits is told for what."""
    switch, sentence = guests.switch, "waits for the switch to take port a.0 in"
    os.kill(switch.pid(), signal.SIGSTOP)
    try:
        guests.create("a")
        guests.start_in_vain("a", sentence)
    finally:
        os.kill(switch.pid(), signal.SIGCONT)
    guests.wait_state("a", "running")
    # What the switch has said of a port before it was changed, or before an earlier start, is no answer.
    guests.switch.cordon("vm", "stop", "a")
    os.kill(switch.pid(), signal.SIGSTOP)
    try:
        for words in ((), ("--nic", "0,tag=zone=db")):
            if words:
                switch.cordon("vm", "stop", "a", "--force")
                switch.cordon("vm", "set", "a", *words)
            guests.start_in_vain("a", sentence)
    finally:
        os.kill(switch.pid(), signal.SIGCONT)
    guests.wait_state("a", "running")
    # A switch that comes back later finds the guest where it was.
    switch.kill("cordon-switchd")
    switch.up("--no-guests")
    holds_for(lambda: guests.state("a") == "running", 1, "running")


def test_stop_takes_its_time(guests):
    """A guest that does not care for its power button is ended after stop-seconds; one whose VMM does not care either
    is killed."""
    switch = guests.switch
    guests.create("a", "--start", "--option", "stop-seconds=1", behave="no-button")
    start = time.monotonic()
    switch.cordon("vm", "stop", "a")
    assert time.monotonic() - start >= 1
    assert guests.show("a")["last_outcome"] == "stopped"
    guests.create("b", "--start", behave="no-button deaf")
    pid = guests.show("b")["pid"]
    switch.cordon("vm", "stop", "b", "--force")
    assert not process_is_alive(pid) and guests.show("b")["last_outcome"] == "vmm-fault"


def test_stop_and_start_cross(guests):
    """Wanted again while it shuts down: it ends, and is started anew."""
    switch = guests.switch
    guests.create("a", "--start", "--option", "stop-seconds=8", behave="no-button")
    pid = guests.show("a")["pid"]
    switch.cordon("vm", "stop", "a", "--no-wait")
    guests.wait_state("a", "stopping")
    switch.cordon("vm", "start", "a", "--no-wait")
    guests.wait_state("a", "running", 40)
    assert process_is_alive(guests.show("a")["pid"])
    assert guests.show("a")["pid"] == pid  # It did not care, so it runs on,
    switch.cordon("vm", "set", "a", "--option", "stop-seconds=2")
    start = time.monotonic()
    switch.cordon("vm", "stop", "a")  # and is asked once more, with all the time that it may have.
    assert time.monotonic() - start >= 2


# --- Ends --------------------------------------------------------------------------------------------------------


def test_ends(guests):
    """What a guest does by itself, and what becomes of it."""
    guests.create("off", "--start", behave="shutdown=told")
    guests.tell("off")
    vm = guests.wait_state("off", "ended")
    assert vm["last_outcome"] == "shutdown" and "as planned" in vm["error"]
    holds_for(lambda: guests.state("off") == "ended", 1, "being left off")
    guests.switch.cordon("vm", "start", "off")  # Once more, if asked.
    guests.create("fault", "--start", behave="fault=told")
    guests.tell("fault")
    vm = guests.wait_state("fault", "failed")
    assert vm["last_outcome"] == "guest-fault" and "as planned" in vm["error"]
    guests.create("die", "--start", behave="die=told")
    guests.tell("die")
    vm = guests.wait_state("die", "failed")
    assert vm["last_outcome"] == "vmm-fault" and "signal 9" in vm["error"]
    assert "VM die is failed" in guests.switch.try_cordon("status").stdout


def test_reset(guests):
    """A guest that asks for a reset is started anew at once."""
    guests.create("a", "--start", behave="reset=told once")
    first = guests.show("a")["pid"]
    guests.tell("a")
    vm = wait_for(lambda: (vm := guests.show("a"))["restarts"] == 1 and vm["state"] == "running" and vm, what="the restart")
    assert vm["pid"] != first and vm["last_outcome"] == "reset"


def test_restart_and_giving_up(guests):
    """One that fails is started again, ever later; one that fails in a loop is left failed, with the reason."""
    guests.create("once", "--start", "--restart", "on-failure", behave="fault=told once")
    guests.tell("once")
    wait_for(lambda: (vm := guests.show("once"))["restarts"] == 1 and vm["state"] == "running", what="the restart")
    guests.create("loop", "--restart", "always", "--option", "restart-limit=2", behave="fault=0.05")
    start = time.monotonic()
    guests.switch.cordon("vm", "start", "loop", "--no-wait")
    vm = guests.wait_state("loop", "failed", 40)
    assert vm["restarts"] == 2 and time.monotonic() - start >= 2
    assert "as planned" in vm["error"] and "3 times in a row" in vm["error"]
    assert "as planned" in guests.switch.json("vm", "list")[0]["error"]


def test_start_says_why_not(guests):
    """What cannot be started is told by the command that asked for it, in the VMM's own words."""
    switch = guests.switch
    guests.create("a", kernel="/nowhere/vmlinuz")
    message = guests.refused("start", "a")
    assert "VM a has failed" in message and "/nowhere/vmlinuz cannot be opened" in message
    guests.create("b", "--restart", "always", kernel="/nowhere/vmlinuz")
    message = guests.refused("start", "b")
    assert "/nowhere/vmlinuz cannot be opened" in message and "is tried again" in message
    switch.cordon("vm", "stop", "b")
    assert guests.state("b") == "stopped"
    for words in (("pause", "a"), ("resume", "a")):
        assert "cordon vm start a" in guests.refused(*words)
    assert "there is no VM 'nobody'" in guests.refused("start", "nobody")
    assert "has 1" not in guests.refused("create", "c")
    assert "no kernel" in guests.refused("create", "c")
    guests.create("d")
    assert "exists on host" in guests.refused("create", "d", "--kernel", KERNEL)


def test_mute_vmm(guests):
    """A VMM that answers nobody is seen, and can still be stopped; also by a cordon-hostd that has only found it."""
    guests.create("a", behave="mute")
    guests.start_in_vain("a", "does not answer")
    guests.kill_hostd()
    guests.start_hostd()
    guests.switch.cordon("vm", "stop", "a", "--force", "--timeout", "30")
    assert not stand_ins(guests.switch.run)


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


class Watch:
    """All updates of table VM that the database sends within the block: one for each transaction that changes it."""

    def __init__(self, switch, columns):
        self.updates = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(switch.run, "db.sock"))
        request = {"method": "monitor", "params": ["Cordon", None, {"VM": {"columns": columns, "select": {"initial": False}}}], "id": 0}
        self.socket.sendall(json.dumps(request).encode())
        self.text = ""

    def look(self, seconds):
        """Reads for so long; returns the updates' rows."""
        limit = time.monotonic() + seconds
        while (left := limit - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                self.text += self.socket.recv(1 << 20).decode()
            except TimeoutError:
                break
            self._take()
        return self.updates

    def _take(self):
        while self.text:
            try:
                message, end = json.JSONDecoder().raw_decode(self.text)
            except ValueError:
                return
            self.text = self.text[end:].lstrip()
            if message.get("method") == "update":
                self.updates.append(message["params"][1]["VM"])
            elif message.get("method") == "echo":
                self.socket.sendall(json.dumps({"result": message["params"], "id": message["id"], "error": None}).encode())


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


# --- Taking over -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_takes_guests_over(guests, sig):
    """cordon-hostd may come and go: guests run on, and the next one looks after them."""
    guests.create("a", "--start", behave="shutdown=told")
    guests.create("b", "--start", "--restart", "on-failure")
    pids = {name: guests.show(name)["pid"] for name in "ab"}
    guests.kill_hostd(sig)
    holds_for(lambda: all(process_is_alive(pid) for pid in pids.values()), 0.5, "running")
    guests.start_hostd()
    wait_for(lambda: {name: guests.show(name).get("pid") for name in "ab"} == pids, what="the take-over")
    assert guests.show("a")["restarts"] == 0
    # It sees their ends as if they were its own children.
    guests.tell("a")
    assert guests.wait_state("a", "ended")["last_outcome"] == "shutdown"
    os.kill(pids["b"], signal.SIGKILL)
    vm = wait_for(lambda: (vm := guests.show("b"))["restarts"] == 1 and vm["state"] == "running" and vm, what="the restart")
    assert vm["pid"] != pids["b"]


def test_what_happened_meanwhile(guests):
    """Guests that ended, and VMs that were stopped or deleted, while no cordon-hostd was there."""
    switch = guests.switch
    for name, words in {"ended": (), "killed": ("--restart", "always"), "stopped": (), "deleted": ()}.items():
        guests.create(name, "--start", *words, behave="shutdown=told" if name == "ended" else "")
    pids = {vm["name"]: vm["pid"] for vm in switch.json("vm", "list")}
    guests.kill_hostd()
    guests.tell("ended")
    os.kill(pids["killed"], signal.SIGKILL)
    switch.cordon("vm", "stop", "stopped", "--no-wait")
    switch.cordon("vm", "delete", "deleted", "--force")
    wait_for(lambda: not process_is_alive(pids["ended"]), what="the end")
    guests.start_hostd()
    assert guests.wait_state("ended", "ended")["last_outcome"] == "shutdown"
    assert guests.wait_state("killed", "running")["pid"] != pids["killed"]
    guests.wait_state("stopped", "stopped")
    wait_for(lambda: not process_is_alive(pids["deleted"]), what="the end of the deleted one")
    wait_for(lambda: not os.path.exists(guests.directory("deleted")), what="its directory's end")


def test_killed_before_its_vmm_listens(guests):
    """A VMM that reads a large initrd has no control socket yet.  The next cordon-hostd finds it all the same, and starts
    no second one beside it."""
    switch = guests.switch
    guests.create("a", behave="slow")
    switch.cordon("vm", "start", "a", "--no-wait")
    pids = wait_for(lambda: stand_ins(switch.run), what="the VMM")
    guests.kill_hostd()
    assert not os.path.exists(os.path.join(guests.directory("a"), "control.sock"))
    guests.start_hostd()
    guests.tell("a", "listen")
    assert guests.wait_state("a", "running")["pid"] == pids[0]
    assert stand_ins(switch.run) == pids and guests.show("a")["restarts"] == 0


def test_delete_what_has_ended(guests):
    """What does not run need not be stopped before it is deleted."""
    guests.create("off", "--start", behave="shutdown=told")
    guests.create("fault", "--start", behave="fault=told")
    guests.create("runs", "--start")
    guests.tell("off")
    guests.tell("fault")
    guests.wait_state("off", "ended")
    guests.wait_state("fault", "failed")
    guests.switch.cordon("vm", "delete", "off")
    guests.switch.cordon("vm", "delete", "fault")
    assert "cordon vm stop runs" in guests.refused("delete", "runs")


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


def test_same_name_again(guests):
    """A VM that is made anew under the name of one that still runs is another one: the old VMM is ended first."""
    guests.create("a", "--start")
    old = guests.show("a")["pid"]
    guests.kill_hostd()
    guests.switch.cordon("vm", "delete", "a", "--force")
    guests.create("a")
    guests.start_hostd()
    guests.switch.cordon("vm", "start", "a")
    assert not process_is_alive(old) and guests.show("a")["pid"] != old


def test_database_goes_away(guests):
    """Without a database guests run on, and are restarted as was wanted last."""
    guests.create("a", "--start", "--restart", "always")
    pid = guests.show("a")["pid"]
    guests.switch.kill("ovsdb-server")
    holds_for(lambda: process_is_alive(pid), 0.5, "running")
    os.kill(pid, signal.SIGKILL)
    new = wait_for(lambda: [one for one in stand_ins(guests.switch.run) if one != pid], what="the restart")
    guests.switch.up("--no-guests")
    wait_for(lambda: guests.show("a").get("pid") == new[0], 20, "the new process in the database")
    assert guests.state("a") == "running"


def test_down_leaves_guests(guests):
    """`cordon down` leaves guests running, `cordon down --all` shuts them down; what is wanted stays."""
    switch = guests.switch
    guests.create("a", "--start")
    pid = guests.show("a")["pid"]
    result = switch.cordon("down")
    assert "1 guest runs on" in result and process_is_alive(pid)
    switch.up("--no-guests")
    guests.start_hostd()
    wait_for(lambda: guests.show("a").get("pid") == pid, what="the take-over")
    switch.cordon("down", "--all")
    assert not process_is_alive(pid) and not stand_ins(switch.run)
    switch.up("--no-guests")
    guests.start_hostd()
    assert guests.wait_state("a", "running")["pid"] != pid


def test_down_that_is_broken_off(guests):
    """Guests are to end for as long as somebody waits for it: if he goes away, they go on as they are wanted."""
    switch = guests.switch
    guests.create("stubborn", "--start", behave="no-button")
    guests.create("good", "--start")
    guests.create("off")
    down = subprocess.Popen([CORDON, "down", "--all"], env=switch.environment(), stdout=subprocess.DEVNULL)
    guests.wait_state("good", "stopped")
    assert "were shut down" in wait_for(lambda: guests.show("good").get("error"), what="the reason")
    holds_for(lambda: guests.state("good") == "stopped", 1, "being stopped")
    down.kill()
    down.wait()
    assert guests.wait_state("good", "running", 30).get("error") is None
    assert guests.wait_state("stubborn", "running")["restarts"] == 0 and guests.state("off") == "stopped"
    # It is asked once more the next time, with all its time.
    result = switch.try_cordon("down", "--guests-only", "--timeout", "2")
    assert result.returncode == 7 and "1 guest has not ended within 2 s" in result.stderr
    assert guests.state("stubborn") == "stopping"
    guests.wait_state("stubborn", "running", 20)
    # Who was ended for good is started by the next `cordon up`, or by the next cordon-hostd.
    switch.cordon("vm", "stop", "stubborn", "--force")
    switch.cordon("down", "--guests-only")
    holds_for(lambda: guests.state("good") == "stopped", 12, "being stopped")
    switch.up()
    guests.wait_state("good", "running")
    control = f"{switch.run}/cordon-hostd.{switch.pid('cordon-hostd')}.ctl"
    result = subprocess.run(["ovs-appctl", "-t", control, "cordon/stop-guests", "soon"], capture_output=True, text=True, check=False)
    assert result.returncode != 0 and "'soon' is no number of seconds" in result.stderr
    assert guests.state("good") == "running"


def test_second_hostd_is_refused(guests):
    result = subprocess.run([HOSTD, f"--rundir={guests.switch.run}"], env=guests.switch.environment(), capture_output=True,
                            text=True, timeout=40, check=False)
    assert result.returncode != 0 and "another cordon-hostd runs" in result.stderr


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


# --- Console -----------------------------------------------------------------------------------------------------


def test_console_on_a_pipe(guests):
    guests.create("a", "--start")
    console = subprocess.Popen([CORDON, "vm", "console", "a"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=guests.switch.environment())
    console.stdin.write(b"hello\n")
    console.stdin.flush()
    seen = b""
    while not seen.endswith(b"HELLO\n"):
        seen += os.read(console.stdout.fileno(), 100)
    assert seen == b"welcome to a\r\nHELLO\n"
    guests.switch.cordon("vm", "stop", "a")  # Its end is the console's.
    assert b"has ended" in console.communicate(timeout=30)[1]
    message = guests.refused("console", "a")
    assert "VM a has no console now" in message


def test_console_on_a_terminal(guests):
    """Raw, and left by Ctrl-] only, which is said; the terminal is as before."""
    guests.create("a", "--start")
    master, slave = pty.openpty()
    before = os.popen(f"stty -g < {os.ttyname(slave)}").read()
    console = subprocess.Popen([CORDON, "vm", "console", "a"], stdin=slave, stdout=slave, stderr=slave,
                               env=guests.switch.environment())
    seen = b""

    def read_until(text):
        nonlocal seen
        while text not in seen:
            seen += os.read(master, 100)

    read_until(b"Ctrl-] leaves it")
    read_until(b"welcome")
    os.write(master, b"ls\x03")  # Ctrl-C is the guest's.
    read_until(b"LS\x03")
    os.write(master, b"\x1d")
    assert console.wait(30) == 0
    assert os.popen(f"stty -g < {os.ttyname(slave)}").read() == before
    os.close(master)
    os.close(slave)
    assert guests.state("a") == "running"


def test_many_at_once(guests):
    """Twenty guests, started and stopped together."""
    switch = guests.switch
    names = [f"g{i}" for i in range(20)]
    for name in names:
        guests.create(name, nics=("network=lan",))
    for name in names:
        switch.cordon("vm", "start", name, "--no-wait")
    wait_for(lambda: all(vm["state"] == "running" for vm in switch.json("vm", "list")), 40, "all running")
    assert len(stand_ins(switch.run)) == 20
    switch.cordon("down", "--all")
    assert not stand_ins(switch.run)


def test_status_answers(guests):
    """cordon-hostd answers ovs-appctl, as the switch does."""
    guests.create("a", "--start")
    control = f"{guests.switch.run}/cordon-hostd.{guests.switch.pid('cordon-hostd')}.ctl"
    answer = json.loads(subprocess.run(["ovs-appctl", "-t", control, "cordon/status"], capture_output=True, text=True,
                                       check=True).stdout)
    assert answer["alive"] == 1 and answer["database_connected"] and answer["guests"][0]["name"] == "a"


def test_stranger_at_the_socket(guests):
    """Whoever else has made a socket where a VMM's would be is no VMM: nothing is started beside him, which is said, and
    he is left alone, and so are other guests."""
    guests.create("b", "--start")
    directory = guests.directory("a")
    os.makedirs(directory)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(os.path.join(directory, "control.sock"))
        stranger.listen()
        guests.create("a")
        guests.switch.cordon("vm", "start", "a", "--no-wait")
        wait_for(lambda: "does not answer" in guests.show("a").get("error", ""), 40, "the sentence")
        result = guests.switch.try_cordon("vm", "start", "a", "--timeout", "1")
        assert result.returncode == 7 and "does not answer" in result.stderr
        assert guests.state("b") == "running"
    os.unlink(os.path.join(directory, "control.sock"))
