# SPDX-License-Identifier: Apache-2.0
"""A host with a cordon-hostd whose VMMs are stand-ins (stand_in_vmm.py): for the stories of `cordon vm` that need no guest.

    guests.create("web1", "--start", behave="shutdown=2")
    guests.show("web1")["state"]
"""

import json
import os
import signal
import socket
import subprocess
import time

from cordon import BUILD, process_is_alive, wait_for

HOSTD = os.path.join(BUILD, "cordon-hostd")
STAND_IN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stand_in_vmm.py")
SMALL_GUEST = os.path.join(BUILD, "tests", "guest", "guest.elf")
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


class Watch:
    """All updates of a table that the database sends within the block: one for each transaction that changes it."""

    def __init__(self, switch, columns, table="VM"):
        self.updates, self.table = [], table
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(switch.run, "db.sock"))
        request = {"method": "monitor", "id": 0,
                   "params": ["Cordon", None, {table: {**({"columns": columns} if columns else {}), "select": {"initial": False}}}]}
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
                self.updates.append(message["params"][1][self.table])
            elif message.get("method") == "echo":
                self.socket.sendall(json.dumps({"result": message["params"], "id": message["id"], "error": None}).encode())
