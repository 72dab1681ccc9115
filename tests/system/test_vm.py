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

from cordon import CORDON, holds_for, process_is_alive, wait_for
from vm_host import HOSTD, KERNEL, stand_ins

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
    # Nobody of whom `cordon status` could ask it is there, and still it knows.
    status = switch.try_cordon("status")
    assert status.returncode == 4 and "1 runs of 1 (a), without a network; cordon-hostd does not run in" in status.stdout
    guest, = switch.status()["guests"]
    assert guest == {"name": "a", "pid": pid, "running": True}
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
    assert "1 runs of 3; all are being shut down" in switch.cordon("status")
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
    assert "0 run of 3; all are shut down, `cordon up` starts them" in switch.cordon("status")
    switch.up()
    guests.wait_state("good", "running")
    control = f"{switch.run}/cordon-hostd.{switch.pid('cordon-hostd')}.ctl"
    result = subprocess.run(["ovs-appctl", "-t", control, "cordon/stop-guests", "soon"], capture_output=True, text=True, check=False)
    assert result.returncode != 0 and "'soon' is no number of seconds" in result.stderr
    assert guests.state("good") == "running"


def test_status_without_a_switch(guests):
    """Guests run on while the switch is away, and `cordon status` says so, whoever else is there."""
    switch = guests.switch
    guests.create("a", "--start")
    guests.create("b")
    pid = guests.show("a")["pid"]
    assert "1 runs of 2, cordon-hostd is process" in switch.cordon("status")
    switch.kill("cordon-switchd")
    status = switch.try_cordon("status")
    assert status.returncode == 4 and "1 runs of 2 (a), without a network, cordon-hostd is process" in status.stdout
    guests.kill_hostd()
    assert "1 runs of 2 (a), without a network; cordon-hostd does not run in" in switch.try_cordon("status").stdout
    a, b = switch.status()["guests"]
    assert (a["name"], a["state"], a["running"], a["pid"]) == ("a", "running", True, pid)
    assert (b["name"], b["running"]) == ("b", False) and "pid" not in b
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not process_is_alive(pid), what="the end")
    assert not switch.status()["guests"][0]["running"]


def test_second_hostd_is_refused(guests):
    result = subprocess.run([HOSTD, f"--rundir={guests.switch.run}"], env=guests.switch.environment(), capture_output=True,
                            text=True, timeout=40, check=False)
    assert result.returncode != 0 and "another cordon-hostd runs" in result.stderr


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
