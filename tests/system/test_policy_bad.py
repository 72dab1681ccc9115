# SPDX-License-Identifier: Apache-2.0
"""Policies that nobody should write, by the command and past it: each is refused with a clear message, costs a bounded
amount of memory, and leaves the policy in force as it is.

    web .1        app .2
      |             |
    --+-------------+--  network lan, VLAN 10
"""

import os
import re
import subprocess
import sys
import time

import pytest

from cordon import CORDON, wait_for
from database import delete_revision, insert_revision, root, transact, update_root
from host import TcpServer
from stream import STEADY, Stream

MIB = 1 << 20
MAX_BYTES = 64 * MIB  # Of a document.

POLICY = """\
zones:
  web: {match: "zone=web"}
  app: {match: "zone=app"}
policies:
  - id: shop
    rules:
      - {id: web-to-app, from: web, to: app, service: [tcp/80, STEADY], action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
""".replace("STEADY", STEADY)


@pytest.fixture(scope="module")
def site(shared):
    shared.add_network()
    shared.policy(POLICY)
    web, app = shared.host("web", 1), shared.host("app", 2)
    with TcpServer(app, 80):
        yield shared, web, app


@pytest.fixture
def untouched(site):
    """Whatever the test does, the policy in force is what it was."""
    switch, web, app = site
    history, revision = switch.json("policy", "history"), switch.status()["policy_revision"]
    yield site
    assert switch.status()["policy_revision"] == revision
    assert switch.json("policy", "history") == history
    assert web.can_connect(app.ipv4, 80) and not web.can_connect(app.ipv4, 81, 0.2)


# A process counts the memory of the program that it was before, so a small one starts the command.
LAUNCHER = """
import os, resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(status, used.ru_maxrss, round(used.ru_utime + used.ru_stime))
"""


def run_measured(switch, *words):
    """(exit status, error output, most bytes in memory, seconds of the CPU) of a command."""
    result = subprocess.run([sys.executable, "-I", "-S", "-c", LAUNCHER, CORDON, *words], env=switch.environment(),
                            capture_output=True, text=True, errors="replace", timeout=300, check=True)
    status, kilobytes, seconds = map(int, result.stdout.split())
    return status, result.stderr, kilobytes * 1024, seconds


class MostMemory:
    """The most memory that a process gains within the `with` block."""

    def __init__(self, pid):
        self.pid = pid
        self.gained = None

    def _read(self, name):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(rf"{name}:\s+(\d+) kB", file.read())[1]) * 1024

    def __enter__(self):
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # proc(5): the peak is measured anew.
        self.before = self._read("VmRSS")
        return self

    def __exit__(self, *_):
        self.gained = self._read("VmHWM") - self.before


def write(switch, parts):
    path = os.path.join(switch.directory, "bad.yaml")
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)
    return path


def filler(size):
    """So many bytes of a valid policy that says nothing."""
    yield POLICY.encode()
    line = b"# " + b"x" * 997 + b"\n"
    for _ in range((size - len(POLICY)) // len(line)):
        yield line


def rules(number, line="      - {{id: r{0}, from: web, to: app, service: tcp/{1}, action: allow}}\n"):
    yield POLICY.replace("baseline: ", "#").encode()
    for one in range(number):
        yield line.format(one, one % 60000 + 1).encode()


SHORT = "      - {{id: r{0}, from: web, to: app, action: deny}}\n"


BOMB = b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 12))

# What it is, its parts, what the message names, the most memory it may take.
BAD = [
    ("100-megabytes", lambda: filler(100 * MIB), "larger than 64 MiB", 100 * MIB),
    ("one-line-of-100-megabytes", lambda: [b"zones: {a: {match: \"", b"x" * (100 * MIB)], "larger than 64 MiB",
     100 * MIB),
    ("one-word-of-60-megabytes", lambda: [b"zones: {a: {match: \"", b"x" * (60 * MIB), b"\"}}\n"], "bad.yaml:1",
     1000 * MIB),
    ("deep-nesting", lambda: [b"zones: ", b"[" * 1000000], "bad.yaml:1", 300 * MIB),
    ("deep-blocks", lambda: [b" " * depth + b"a:\n" for depth in range(5000)], "bad.yaml", 300 * MIB),
    ("deep-tag-expression", lambda: [b"zones: {a: {match: \"", b"(" * 4000, b"\"}}\n"], "bad.yaml:1", 100 * MIB),
    ("alias-bomb", lambda: [POLICY.encode(), BOMB], "anchor", 100 * MIB),
    ("nul-byte", lambda: [POLICY.encode(), b"# a\0b\n"], "NUL", 100 * MIB),
    ("only-nul", lambda: [b"\0" * MIB], "NUL", 100 * MIB),
    ("no-utf-8", lambda: [b"zones: {\xff\xfe: {}}\n"], "bad.yaml", 100 * MIB),
    ("duplicate-rules", lambda: rules(120000, "      - {{id: same, from: web, to: app, action: allow}}\n"),
     "same", 600 * MIB),
    ("duplicate-zones", lambda: [b"zones:\n", *[b"  web: {match: a}\n"] * 100000], "web", 300 * MIB),
    ("too-many-rules", lambda: rules(1000001, SHORT), "1000000", 2500 * MIB),
    ("empty", lambda: [b""], "bad.yaml", 100 * MIB),
    ("binary", lambda: [bytes(range(1, 256)) * 1000], "bad.yaml", 100 * MIB),
]


@pytest.mark.parametrize("parts, word, most", [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_refused_by_the_command(untouched, parts, word, most):
    switch, *_ = untouched
    path = write(switch, parts())
    status, message, memory, seconds = run_measured(switch, "policy", "apply", path, "-m", "bad")
    assert status == 6
    assert word in message, message[:2000]
    assert len(message) < 100000, "what is wrong is said, not all of the document"
    assert memory < most, f"{memory / MIB:.0f} MiB"
    assert seconds < 30


def test_endless_pipe(untouched):
    """Of what does not say how long it is, no more is read than may be."""
    switch, *_ = untouched
    status, message, memory, seconds = run_measured(switch, "policy", "apply", "/dev/zero", "-m", "bad")
    assert status == 6 and "larger than 64 MiB" in message
    assert memory < 400 * MIB and seconds < 20


# The same past the command; JSON has no NUL and no bytes that are not UTF-8.
UNCHECKED = [row for row in BAD if row[0] in (
    "100-megabytes", "one-word-of-60-megabytes", "deep-nesting", "deep-tag-expression", "alias-bomb", "duplicate-rules",
    "too-many-rules", "empty")]


@pytest.mark.parametrize("parts, most", [(row[1], row[3]) for row in UNCHECKED], ids=[row[0] for row in UNCHECKED])
def test_refused_by_the_switch(untouched, parts, most):
    switch, web, app = untouched
    wanted = root(switch)["policy_wanted"]
    document = b"".join(parts()).decode()
    with MostMemory(switch.pid()) as memory:
        insert_revision(switch, 1000, document)
        warning = wait_for(lambda: [text for text in switch.status()["warnings"] if "revision 1000" in text], 120,
                           "a warning in the status")[0]
        assert "is not in force: line" in warning, warning
        assert "policy revision 1000" in switch.cordon("status")
        assert web.can_connect(app.ipv4, 80)
    # It keeps the document beside the replica's, as it came and as a value.
    assert memory.gained < most + 8 * len(document), f"{memory.gained / MIB:.0f} MiB"
    transact(switch, {"op": "update", "table": "Cordon", "where": [], "row": {"policy_wanted": wanted}},
             {"op": "delete", "table": "Policy_Revision", "where": [["number", "==", 1000]]})
    wait_for(lambda: not any("revision" in text for text in switch.status()["warnings"]), 20, "no warning any more")


def test_largest_document(new_switch):
    """Just within the limit: it is taken, stored and put into force."""
    switch = new_switch("largest")
    path = write(switch, filler(MAX_BYTES - 2000))
    with MostMemory(switch.pid()) as memory:
        status, message, most, _ = run_measured(switch, "policy", "apply", path, "-m", "large")
    assert status == 0, message
    assert most < 12 * MAX_BYTES and memory.gained < 10 * MAX_BYTES, (most / MIB, memory.gained / MIB)
    assert switch.status()["policy_revision"] == 1
    assert len(switch.cordon("policy", "show")) > MAX_BYTES - 5000
    for words in (("policy", "history"), ("status",)):
        status, message, most, _ = run_measured(switch, *words)
        assert status == 0, message
        assert most < MAX_BYTES, "what needs no document reads none"


def test_memory_of_many_commits(new_switch):
    """A commit leaves nothing behind: policies and documents of the past are given back."""
    switch = new_switch("many")
    path = write(switch, rules(20000))

    def resident():
        with open(f"/proc/{switch.pid()}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    sizes = []
    for _ in range(24):
        switch.cordon("policy", "apply", path, "-m", "again")
        sizes.append(resident())
    # The last ones may be given back a moment later.
    wait_for(lambda: resident() - sizes[7] < 24 * MIB, what=f"no growth: {[size // MIB for size in sizes]} MiB")


# --- What is in the database is not what was ------------------------------------------------------------------------


def test_revision_that_does_not_exist(untouched):
    switch, web, app = untouched
    wanted = root(switch)["policy_wanted"]
    update_root(switch, policy_wanted=77)
    wait_for(lambda: any("revision 77 is not in force: the database has no such revision" in text
                         for text in switch.status()["warnings"]), 20, "a warning")
    assert web.can_connect(app.ipv4, 80)
    update_root(switch, policy_wanted=wanted)
    wait_for(lambda: not any("77" in text for text in switch.status()["warnings"]), 20, "no warning any more")


def timed(end):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    return POLICY.replace("baseline:", "      - {id: more, from: web, to: app, service: udp/8000, action: allow, "
                          f"expires: \"{stamp}\"}}\nbaseline:")


def test_revision_that_vanishes(switch):
    """It stays in force, with all that is to come of it, and the status says what a restart would do."""
    switch.add_network()
    web, app = switch.host("web", 1), switch.host("app", 2)
    web.knows(app)
    end = int(time.time()) + 10
    with TcpServer(app, 80), Stream(web, app, 8000) as stream:
        switch.policy(timed(end))
        connection = web.connect(app.ipv4, 80)
        delete_revision(switch, 1)
        warning = wait_for(lambda: [text for text in switch.status()["warnings"] if "no longer in the database" in text],
                           20, "a warning")[0]
        assert "revision 1 is in force, but" in warning
        connection.sendall(b"hello")
        assert connection.recv(10) == b"hello" and stream.flows()
        assert switch.try_cordon("policy", "show").returncode == 3
        stream.ends_at(end)  # It still expires when it should.
        connection.sendall(b"again")
        assert connection.recv(10) == b"again"
        switch.policy(POLICY)
        wait_for(lambda: not switch.status()["warnings"], 20, "no warning once another one is applied")
        connection.sendall(b"later")
        assert connection.recv(10) == b"later"
        connection.close()


def test_all_rows_vanish(switch):
    """A database that somebody has emptied is no wish."""
    switch.add_network()
    switch.policy(POLICY)
    web, app = switch.host("web", 1), switch.host("app", 2)
    with TcpServer(app, 80):
        assert web.can_connect(app.ipv4, 80)
        transact(switch, *[{"op": "delete", "table": table, "where": []}
                           for table in ("Port", "Policy_Revision", "Host", "Cordon", "Network")])
        time.sleep(0.5)
        assert web.can_connect(app.ipv4, 80)
        assert switch.status()["policy_revision"] == 1


def test_way_back_that_vanishes(switch):
    """The revision to go back to was read when it was still there."""
    switch.add_network()
    switch.policy(POLICY)
    web, app = switch.host("web", 1), switch.host("app", 2)
    web.knows(app)
    path = write(switch, [timed(time.time() + 1000).encode()])
    with TcpServer(app, 80), Stream(web, app, 8000) as stream:
        answer = switch.json("policy", "apply", path, "-m", "new", "--confirm", "6s")
        until = answer["pending"]["confirm_by_ns"] / 1e9
        delete_revision(switch, 1)
        wait_for(stream.flows, 20, "the stream")
        stream.ends_at(until)
        assert switch.status()["policy_revision"] == 1
        assert web.can_connect(app.ipv4, 80)
