# SPDX-License-Identifier: Apache-2.0
"""One switch under test: its own directories, its own database, its own processes, and `cordon` to drive it.

    switch = Switch("web")
    switch.up()
    switch.cordon("network", "add", "lan", "--vlan", "10")
    switch.drops()["policy"]
    switch.close()

Nothing here is shared between switches, so that any number of them, and of test runs, can go at once.
"""

import contextlib
import glob
import ipaddress
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("CORDON_BUILD", os.path.join(ROOT, "build"))
CORDON = os.path.join(BUILD, "cordon")
SWITCHD = os.path.join(BUILD, "cordon-switchd")

COMMAND_SECONDS = 40
QUIET_LOOKS = 50
PORTION = 100

# All that have not been closed, for the report of a failed test.
live = []

_numbers = itertools.count(1)


def unique(prefix):
    """A name that no other test, nor another run at the same time, has; short enough for a network device."""
    return f"{prefix}{os.getpid() % 1000000:x}x{next(_numbers):x}"


def wait_for(condition, seconds=20.0, what="the condition", interval=0.05):
    """Calls `condition` until it returns something true, which is returned.  It is called once more when the time is
    over: this process may have stood still for all of it."""
    limit = time.monotonic() + seconds
    while True:
        over = time.monotonic() > limit
        result = condition()
        if result:
            return result
        if over:
            raise AssertionError(f"{what} did not come true within {seconds} s; last seen: {result!r}")
        time.sleep(interval)


def holds_for(condition, seconds, what="the condition", interval=0.05):
    """Fails as soon as `condition` does not hold."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        assert condition(), f"{what} stopped being true"
        time.sleep(interval)


class CommandFailed(AssertionError):
    """A `cordon` command ended with another status than the test expected."""

    def __init__(self, command, result):
        super().__init__(f"{' '.join(command)}: exit status {result.returncode}\n{result.stdout}{result.stderr}")
        self.status = result.returncode
        self.output = result.stdout
        self.message = result.stderr


def tidy(record):
    """SQL spells addresses out; this shortens them as everybody writes them."""
    for name in ("source_address", "destination_address"):
        if record[name]:
            record[name] = str(ipaddress.ip_address(record[name]))
    return record


def process_is_alive(pid):
    """A zombie, whose parent has not waited for it yet, is not alive."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cpu_seconds(pid):
    """User and system time that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Switch:
    """`cordon up` to `cordon down`, with whatever a test does between them."""

    def __init__(self, name="switch", up_options=("--no-huge", "--workers", "1")):
        # Short, because the path of a UNIX socket may have 107 characters.
        self.directory = tempfile.mkdtemp(prefix=f"cordon-{name[:12]}-", dir="/tmp")
        self.run = os.path.join(self.directory, "run")
        self.state = os.path.join(self.directory, "state")
        self.up_options = list(up_options)
        self.hosts = []
        self.closers = []
        live.append(self)

    # --- The command -----------------------------------------------------------------------------------------

    def environment(self):
        return dict(os.environ, CORDON_RUNDIR=self.run, CORDON_STATEDIR=self.state,
                    PATH=BUILD + os.pathsep + os.environ["PATH"], LC_ALL="C.UTF-8")

    def try_cordon(self, *words, text=None, seconds=COMMAND_SECONDS):
        """Runs `cordon WORDS`; returns the completed process, whatever its status."""
        return subprocess.run([CORDON, *map(str, words)], env=self.environment(), input=text, text=True,
                              stdin=None if text is not None else subprocess.DEVNULL, capture_output=True,
                              timeout=seconds, check=False)

    def cordon(self, *words, text=None, seconds=COMMAND_SECONDS):
        """The same, but anything other than success fails the test.  Returns what it printed."""
        result = self.try_cordon(*words, text=text, seconds=seconds)
        if result.returncode != 0:
            raise CommandFailed(["cordon", *map(str, words)], result)
        return result.stdout

    def json(self, *words):
        return json.loads(self.cordon(*words, "--json"))

    def json_lines(self, *words):
        """For what may be long: one object a line."""
        return [json.loads(line) for line in self.cordon(*words, "--json").splitlines()]

    # --- Life --------------------------------------------------------------------------------------------------

    def up(self, *options):
        self.cordon("up", *self.up_options, *options)

    def down(self):
        return self.try_cordon("down")

    def close(self):
        """Takes down whatever is there, in whatever state it is.  Never fails."""
        if self in live:
            live.remove(self)
        for closer in reversed(self.closers):
            closer()
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.down()
        for program in ("cordon-hostd", "cordon-switchd", "ovsdb-server"):
            self._make_sure_of_end(program)
        for host in self.hosts:
            host.close()
        self._remove_control_groups()
        # Where the switch had hugepages, it kept its connections on a file system of its own.
        subprocess.run(["umount", os.path.join(self.run, "huge")], capture_output=True, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _remove_control_groups(self):
        """Those of guests: cordon-hostd removes them, unless it was killed."""
        own = self.run.strip("/").replace("/", "-")
        for parent in glob.glob(f"/sys/fs/cgroup/*/cordon/{own}") + glob.glob(f"/sys/fs/cgroup/cordon/{own}"):
            for group in [*glob.glob(parent + "/vm-*"), parent]:
                with contextlib.suppress(OSError):
                    os.rmdir(group)

    def _make_sure_of_end(self, program):
        pid = self.pid(program)
        if pid and process_is_alive(pid):
            os.kill(pid, signal.SIGKILL)

    def pid(self, program="cordon-switchd"):
        """The process that runs on this switch's directories, or None."""
        try:
            with open(os.path.join(self.run, program + ".pid"), encoding="ascii") as file:
                pid = int(file.read())
        except (FileNotFoundError, ValueError):
            return None
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                return pid if program.startswith(file.read().strip()) else None
        except (FileNotFoundError, ProcessLookupError):
            return None

    def kill(self, program="cordon-switchd", sig=signal.SIGKILL):
        """Kills a process and waits until it is gone."""
        pid = self.pid(program)
        assert pid, f"{program} is not running"
        os.kill(pid, sig)
        wait_for(lambda: not process_is_alive(pid), 10, f"the end of {program}", interval=0.002)

    def on_close(self, closer):
        """Has `closer` called before the switch goes down."""
        self.closers.append(closer)

    # --- What it is to do ------------------------------------------------------------------------------------

    def add_network(self, name="lan", vlan=10):
        self.cordon("network", "add", name, "--vlan", vlan)

    def add_port(self, name, **options):
        """add_port("a", type="kernel", no_wait=True): an underscore is a hyphen, True stands for a flag."""
        words = []
        for option, value in options.items():
            words += ["--" + option.replace("_", "-")] + ([] if value is True else [str(value)])
        self.cordon("port", "add", name, *words)

    def policy(self, document, why="test"):
        """Puts a policy into force."""
        path = os.path.join(self.directory, "policy.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(document)
        return self.cordon("policy", "apply", path, "-m", why)

    def host(self, name, number, network="lan", zone=None, port_options=None, **options):
        """A namespace plugged in as a vNIC of its own MAC and addresses, tagged zone=ZONE."""
        from host import Host

        one = Host(name, number, **options)
        self.hosts.append(one)
        settings = {"type": "kernel", "device": one.device, "role": "vnic", "network": network, "mac": one.mac,
                    "address": f"{one.ipv4},{one.ipv6}", "tag": f"zone={zone or name}", "vm_name": name,
                    "vm_id": f"id-{name}"}
        settings.update(port_options or {})
        self.add_port(name, **{key: value for key, value in settings.items() if value is not None})
        return one

    def uplink(self, name, number, network="lan", port_options=None, **options):
        """A namespace that is the outside: any MAC and address, zones by prefix, learning."""
        return self.host(name, number, network, port_options={
            "role": "uplink", "mac": None, "address": None, "tag": None, "vm_name": None, "vm_id": None,
            **(port_options or {})}, **options)

    # --- What it says ----------------------------------------------------------------------------------------

    def drops(self):
        """How many packets were dropped, by reason."""
        return {row["reason"]: row["packets"] for row in self.json("drops", "--all")}

    def connections(self, **fields):
        """The live connections whose fields have these values."""
        return [row for row in self.json("conn", "list")
                if all(row.get(name) == value for name, value in fields.items())]

    def log(self, **fields):
        """The log's records whose fields have these values, oldest first, read with SQL as docs/log.md has it."""
        rows = []
        for path in sorted(glob.glob(os.path.join(self.state, "log", "traffic-*.db"))):
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
                database.row_factory = sqlite3.Row
                if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'traffic'").fetchone():
                    continue  # Being made at this moment.
                rows += [tidy(dict(row)) for row in database.execute("SELECT * FROM traffic ORDER BY sequence")]
        return [row for row in rows if all(row[name] == value for name, value in fields.items())]

    def wait_log(self, count=1, seconds=20, **fields):
        """Waits until at least `count` such records are there."""
        return wait_for(lambda: (rows := self.log(**fields)) and len(rows) >= count and rows, seconds,
                        f"{count} log records with {fields}")

    def status(self):
        """What the switch says of itself; without a database too, when the command's status is no success."""
        return json.loads(self.try_cordon("status", "--json").stdout)

    def port(self, name):
        return self.json("port", "show", name)

    def wait_port(self, name, state="up", seconds=20):
        return wait_for(lambda: (port := self.port(name)).get("link_state") == state and port, seconds,
                        f"port {name} {state}")

    def up_again(self):
        """After its end; the hosts' ports are polled again."""
        self.up()
        self.wait_polled()

    def wait_polled(self):
        """Waits for the hosts' ports after a restart.  `port list` shows what the last process has seen of them."""
        def polled():
            return {queue["port"] for worker in self.json("worker", "list") for queue in worker["queues"]}

        wait_for(lambda: polled() >= {host.name for host in self.hosts}, 20, "ports that are polled")

    def send(self, host, *frames):
        """Sends frames from a host no faster than the switch takes them; it has dealt with all of them then.  What is
        sent at once to a switch that stands still is lost on the way, where the kernel's queues have no room for it."""
        def packets():
            return sum(row["packets"] for row in self.json("worker", "list"))

        for at in range(0, len(frames), PORTION):
            portion, before = frames[at:at + PORTION], packets()
            host.packets.send(*portion)
            wait_for(lambda expected=before + len(portion): packets() >= expected, what="frames that are dealt with",
                     interval=0)

    def wait_in_force(self, seconds=20):
        """Waits until the switch has taken in all that the database was told before: it says of a port whether its link
        is up, where nobody has said so, once what it has seen of the database is in force."""
        from database import transact

        transact(self, {"op": "update", "table": "Port", "where": [], "row": {"link_state": ["set", []]}})
        wait_for(lambda: all(port.get("link_state") for port in self.json("port", "list")), seconds,
                 "a switch that has taken everything in")

    def set_port(self, name, *words):
        """Changes a port, and waits until it is so."""
        self.cordon("port", "set", name, *words)
        self.wait_in_force()

    def wait_quiet(self, seconds=20):
        """Waits until the workers find nothing, look after look: all that was sent before has been switched."""
        def quiet():
            before = self.json("worker", "list")
            wait_for(lambda: self._looks(before) >= QUIET_LOOKS, seconds, "the workers' looks at their queues")
            return [row["packets"] for row in self.json("worker", "list")] == [row["packets"] for row in before]

        wait_for(quiet, seconds, "workers without a packet", interval=0)

    def _looks(self, before):
        """How often the worker that looked least has looked at its queues since."""
        return min(now["polls"] - then["polls"] for now, then in zip(self.json("worker", "list"), before))

    def log_file(self, program="cordon-switchd"):
        """The text that a program of this switch has written."""
        for folder in (self.state, self.run, os.path.join(self.state, "log")):
            path = os.path.join(folder, program + ".log")
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    return file.read()
        return ""

    def report(self):
        """All that helps to see why a test failed."""
        parts = []
        for words in (["status"], ["port", "list"], ["drops"], ["mac", "list"], ["conn", "list"], ["worker", "list"],
                      ["log", "list", "--limit", "20"]):
            try:
                result = self.try_cordon(*words, seconds=5)
                parts.append(f"--- cordon {' '.join(words)}\n{result.stdout}{result.stderr}")
            except subprocess.TimeoutExpired:
                parts.append(f"--- cordon {' '.join(words)}: no answer within 5 s\n")
        for host in self.hosts:
            parts.append(f"--- host {host.name}\n{host.report()}")
        for program in ("cordon-switchd", "cordon-hostd", "ovsdb-server"):
            text = "\n".join(self.log_file(program).splitlines()[-60:])
            parts.append(f"--- {program}.log\n{text}\n")
        return "\n".join(parts)
