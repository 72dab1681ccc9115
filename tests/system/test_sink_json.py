# SPDX-License-Identifier: Apache-2.0
"""The log as a file of JSON lines, as a collector reads it.

    web .1                 app .2
      |                      |
    --+----------------------+--  network lan, VLAN 10
"""

import glob
import json
import os
import stat
import subprocess

from cordon import wait_for
from host import TcpServer, UdpServer

POLICY = """\
zones:
  web: {match: "zone=web"}
  app: {match: "zone=app"}
tiers: [application]
policies:
  - id: shop
    tier: application
    mode: enforce
    rules:
      - {id: web-to-app, from: web, to: app, service: tcp/80, action: allow, log: session, label: CHG-1}
      - {id: web-dns, from: web, to: app, service: udp/53, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


def prepare(switch):
    switch.add_network()
    switch.policy(POLICY)
    return [switch.host(name, number) for number, name in enumerate(("web", "app"), 1)]


def read(pattern):
    """All lines of all files, the oldest file first; each must be an object."""
    records = []
    for path in sorted(glob.glob(pattern), key=lambda path: -int(path.rpartition(".")[2]) if path[-1].isdigit() else 0):
        with open(path, encoding="utf-8") as file:
            records += [json.loads(line) for line in file if line.endswith("\n")]  # The last one may be under way.
    return records


def ask_often(web, app, first, count):
    """So many connections, each from a port of its own."""
    with UdpServer(app, 53):
        for port in range(first, first + count):
            assert web.can_ask(app.ipv4, 53, source_port=port)


def wait_state(switch, name, state):
    return wait_for(lambda: (sink := switch.json("sink", "show", name))["state"] == state and sink, 20,
                    f"sink {name}: {state}")


def wait_listed(switch, records):
    """What `cordon log list` says, by number, once it knows of all of these records: each sink writes when it comes to it."""
    def listed():
        rows = {row["sequence"]: row for row in switch.json_lines("log", "list")}
        return {record["sequence"] for record in records} <= set(rows) and rows

    return wait_for(listed, what="the records in the command's list")


def test_lines_are_those_of_the_command(switch):
    """What `cordon log list --json` says of a record is what its line says, member by member."""
    web, app = prepare(switch)
    path = os.path.join(switch.directory, "traffic.json")
    switch.cordon("sink", "add", "lines", "json", f"path={path}")
    wait_state(switch, "lines", "ok")
    with TcpServer(app, 80):
        assert web.can_connect(app.ipv6, 80)
    assert not web.can_connect(app.ipv4, 81, 0.5)
    ask_often(web, app, 20000, 3)
    switch.cordon("conn", "flush", "--all")
    lines = wait_for(lambda: (rows := read(path)) and sum(row["kind"] == "end" for row in rows) >= 4 and rows, 20,
                     "the ends of four connections")
    assert {row["kind"] for row in lines} >= {"start", "end", "denied"}
    listed = wait_listed(switch, lines)
    assert [row["sequence"] for row in lines] == sorted(row["sequence"] for row in lines)
    for row in lines:
        assert row == listed[row["sequence"]]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    denied = next(row for row in lines if row["kind"] == "denied")
    assert (denied["source_vm_name"], denied["destination_transport_port"]) == ("web", 81)
    assert denied["rule"] == "web->app"


def test_a_filter_keeps_lines_out(switch):
    web, app = prepare(switch)
    path = os.path.join(switch.directory, "denied.json")
    switch.cordon("sink", "add", "lines", "json", f"path={path}", "filter=verdict=denied")
    wait_state(switch, "lines", "ok")
    ask_often(web, app, 20000, 3)
    assert not web.can_connect(app.ipv4, 81, 0.5)
    wait_for(lambda: read(path), 20, "a line")
    assert {row["verdict"] for row in read(path)} == {"denied"}


def test_rotation_loses_nothing(switch):
    """By the sink itself, and by another: every record is in one of the files, and once."""
    web, app = prepare(switch)
    path = os.path.join(switch.directory, "traffic.json")
    switch.cordon("sink", "add", "lines", "json", f"path={path}", "rotate-bytes=65536", "rotate-keep=20")
    wait_state(switch, "lines", "ok")

    def wait_delivered(count):
        wait_for(lambda: switch.json("sink", "show", "lines")["delivered"] >= count, 20, f"{count} lines")

    for number in range(4):
        ask_often(web, app, 20000 + 100 * number, 100)
        wait_delivered(100 * (number + 1))
    # A file that is large enough is renamed within a second.
    wait_for(lambda: os.path.exists(path) and os.path.getsize(path) < 65536, what="a file that is not to be renamed")
    os.rename(path, path + ".0")  # Sorted, by the test, behind those that the sink has renamed.
    wait_for(lambda: os.path.exists(path), 20, "a new file")
    ask_often(web, app, 21000, 10)
    wait_delivered(410)
    starts = [row["source_transport_port"] for row in read(path + ".*") + read(path)
              if row["kind"] == "start" and row["rule"] == "web-dns"]
    assert starts == [*range(20000, 20400), *range(21000, 21010)]
    assert read(path), "lines in the new file"
    assert len(glob.glob(path + ".*")) >= 4
    assert switch.json("sink", "show", "lines")["lost"] == 0


def test_a_crash_leaves_whole_lines(switch):
    web, app = prepare(switch)
    path = os.path.join(switch.directory, "traffic.json")
    switch.cordon("sink", "add", "lines", "json", f"path={path}")
    ask_often(web, app, 20000, 5)
    before = wait_for(lambda: os.path.exists(path) and len(read(path)) >= 5 and read(path), 20, "lines")
    switch.kill()
    with open(path, "a", encoding="ascii") as file:
        file.write('{"time":"2026-10-01T12:0')
    switch.up_again()
    wait_state(switch, "lines", "ok")
    ask_often(web, app, 21000, 5)
    rows = wait_for(lambda: (rows := read(path)) and len(rows) >= len(before) + 5 and rows, 20, "more lines")
    assert rows[:len(before)] == before
    sequences = [row["sequence"] for row in rows]
    assert sequences == sorted(set(sequences)), "numbers go on where they were"


def test_two_switches_on_one_file(new_switch):
    """The second is refused, says so, and gets it when the first has let go."""
    one, other = new_switch("one"), new_switch("other")
    path = os.path.join(one.directory, "traffic.json")
    one.cordon("sink", "add", "lines", "json", f"path={path}")
    wait_state(one, "lines", "ok")
    other.cordon("sink", "add", "lines", "json", f"path={path}")
    sink = wait_state(other, "lines", "error")
    assert "is written by another sink or process" in sink["error"] and path in sink["error"]
    one.cordon("sink", "del", "lines")
    wait_state(other, "lines", "ok")


def test_a_full_disk(switch):
    """Records wait while it is full.  When there is room they come, each once, on whole lines."""
    web, app = prepare(switch)
    folder = os.path.join(switch.directory, "small")
    path = os.path.join(folder, "traffic.json")
    os.mkdir(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "cordon-test", folder], check=True)
    switch.on_close(lambda: subprocess.run(["umount", "-l", folder], check=False))
    switch.cordon("sink", "add", "lines", "json", f"path={path}")
    wait_state(switch, "lines", "ok")
    ask_often(web, app, 20000, 150)
    sink = wait_state(switch, "lines", "error")
    assert "No space left on device" in sink["error"] and path in sink["error"]
    read(path)
    subprocess.run(["mount", "-o", "remount,size=16m", folder], check=True)
    rows = wait_for(lambda: (rows := read(path)) and sum(row["kind"] == "start" for row in rows) >= 150 and rows, 120,
                    "all records")
    ports = [row["source_transport_port"] for row in rows if row["kind"] == "start"]
    assert ports == list(range(20000, 20150))
    assert not [row for row in rows if row["kind"] == "gap"]
