# SPDX-License-Identifier: Apache-2.0
"""What survives: the switch killed, the database killed, the connection file damaged, a second switch.

    client .1      server .2
      |               |
    --+---------------+--  network lan, VLAN 10
"""

import glob
import os
import subprocess
import time

import pytest

from cordon import SWITCHD, process_is_alive, wait_for
from host import TcpServer

POLICY = """\
zones:
  client: {{match: "zone=client"}}
  server: {{match: "zone=server"}}
policies:
  - id: p
    mode: enforce
    rules:
      - {{id: tcp, from: client, to: server, service: tcp/80, action: {action}, log: session}}
      - {{id: ping, from: client, to: server, service: icmp/8, action: allow}}
baseline: {{between_zones: deny, within_zone: allow, log: denied}}
"""


@pytest.fixture
def site(switch):
    switch.add_network()
    switch.policy(POLICY.format(action="allow"))
    return switch, switch.host("client", 1), switch.host("server", 2)


def exchange(connection, text):
    connection.sendall(text)
    return connection.recv(100) == text


def connection_file(switch):
    return next(path for path in (os.path.join(switch.run, "huge", "connections"),
                                  os.path.join(switch.run, "connections")) if os.path.exists(path))


def test_killed_switch_comes_back_with_its_connections(site, version):
    switch, client, server = site
    with TcpServer(server, 80) as tcp:
        connection = client.connect(server.address(version), 80, seconds=20)
        assert exchange(connection, b"before")
        port = connection.getsockname()[1]
        old = switch.connections(source_port=port)[0]
        switch.kill("cordon-switchd")
        switch.up()
        assert exchange(connection, b"after")
        new = switch.connections(source_port=port)[0]
        assert new["state"] == "ESTABLISHED"
        assert new["packets_forward"] > old["packets_forward"], "its counters go on"
        assert switch.status()["connections"]["adopted"] >= 1
        assert tcp.accepted == 1, "it is the same connection"
        assert client.can_connect(server.address(version), 80), "and new ones open"
        connection.close()


def test_gap_of_a_restart_is_short_against_tcp(site):
    """Data that is sent all the while arrives whole: TCP sees a short loss, not an end."""
    switch, client, server = site
    with TcpServer(server, 80):
        connection = client.connect(server.ipv4, 80, seconds=20)
        for turn in range(3):
            connection.sendall(b"a" * 100)
            switch.kill("cordon-switchd")
            connection.sendall(b"b" * 100)
            switch.up()
            connection.sendall(b"c" * 100)
            received = b""
            while len(received) < 300:
                received += connection.recv(1000)
            assert received == b"a" * 100 + b"b" * 100 + b"c" * 100, f"turn {turn}"
        connection.close()


def test_policy_holds_across_a_restart(site):
    """A connection that a policy change has denied while the switch was down does not come back."""
    switch, client, server = site
    with TcpServer(server, 80):
        connection = client.connect(server.ipv4, 80)
        assert exchange(connection, b"before")
        connection.settimeout(1)
        switch.kill("cordon-switchd")
        path = os.path.join(switch.directory, "deny.yaml")
        with open(path, "w", encoding="ascii") as file:
            file.write(POLICY.format(action="deny"))
        switch.cordon("policy", "apply", path, "-m", "while the switch is down", "--no-wait")
        switch.up()
        wait_for(lambda: switch.status()["policy_revision"] == 2, 20, "the new revision in force")
        connection.sendall(b"after")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        assert not client.can_connect(server.ipv4, 80, 0.5)
        connection.close()


def test_upgrade_keeps_connections(site):
    switch, client, server = site
    with TcpServer(server, 80):
        connection = client.connect(server.ipv4, 80, seconds=20)
        assert exchange(connection, b"before")
        switch.cordon("down", "--keep-connections")
        assert switch.pid() is None and switch.pid("ovsdb-server") is None
        switch.up()
        assert exchange(connection, b"after")
        connection.close()


def test_stop_forgets_connections(site):
    switch, client, server = site
    with TcpServer(server, 80):
        connection = client.connect(server.ipv4, 80)
        assert exchange(connection, b"before")
        connection.settimeout(1)
        switch.cordon("down")
        switch.up_again()
        assert switch.status()["connections"]["adopted"] == 0
        connection.sendall(b"after")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        wait_for(lambda: switch.drops()["tcp-out-of-state"], what="the middle of a connection whose beginning was not seen")
        connection.close()


def test_database_may_go_and_come_back(site, version):
    """Without it, traffic and policy stay; when it is back, changes are taken up."""
    switch, client, server = site
    with TcpServer(server, 80):
        connection = client.connect(server.address(version), 80)
        switch.kill("ovsdb-server")
        assert exchange(connection, b"no database")
        assert client.can_connect(server.address(version), 80), "new connections are judged as before"
        assert not client.can_connect(server.address(version), 81, 0.3)
        wait_for(lambda: "database" in str(switch.status()["warnings"]), 20, "a warning in the status")
        switch.up()
        wait_for(lambda: "database" not in str(switch.status()["warnings"]), 20, "the database rejoined")
        assert exchange(connection, b"with it again")
        switch.policy(POLICY.format(action="deny"))
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            exchange(connection, b"denied now")
        connection.close()


def test_restart_without_a_database_passes_nothing_unjudged(site):
    """A switch that comes up while the database is away has no ports; it takes them when the database is there."""
    switch, client, server = site
    with TcpServer(server, 80):
        switch.kill("ovsdb-server")
        switch.kill("cordon-switchd")
        daemon = subprocess.Popen([SWITCHD, "--rundir", switch.run, "--statedir", switch.state, "--no-huge",
                                   "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  env=switch.environment())
        try:
            time.sleep(1.5)
            assert daemon.poll() is None, "it waits for the database"
            assert not client.can_connect(server.ipv4, 80, 0.5)
            switch.cordon("up", "--db-only")
            wait_for(lambda: client.can_connect(server.ipv4, 80, 0.5), 20, "traffic once the database is back")
        finally:
            daemon.terminate()
            daemon.wait(20)


DAMAGES = [
    ("truncated", lambda path: os.truncate(path, os.path.getsize(path) // 2)),
    ("another-magic", lambda path: overwrite(path, 0, b"not-a-connection-file")),
    ("another-version", lambda path: overwrite(path, 8, b"\xff\xff\xff\xff")),
]


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize("damage", [row[1] for row in DAMAGES], ids=[row[0] for row in DAMAGES])
def test_damaged_connection_file_is_refused_by_name_and_begun_anew(site, damage):
    switch, client, server = site
    with TcpServer(server, 80):
        client.connect(server.ipv4, 80).close()
        switch.kill("cordon-switchd")
        damage(connection_file(switch))
        switch.up()
        warnings = str(switch.status()["warnings"])
        assert "not taken over" in warnings, warnings
        assert wait_for(lambda: client.can_connect(server.ipv4, 80, 0.5), 20, "a connection in the new table")


def test_rubbish_within_the_connection_file_hurts_nobody(site):
    """The header is right, what follows is not: opening it must neither crash nor hang."""
    import random

    dice = random.Random(1)
    switch, client, server = site
    with TcpServer(server, 80):
        client.connect(server.ipv4, 80).close()
        switch.kill("cordon-switchd")
        path = connection_file(switch)
        size = os.path.getsize(path)
        for _ in range(2000):
            overwrite(path, dice.randrange(4096, size - 64), dice.randbytes(dice.randrange(1, 64)))
        switch.up()
        assert wait_for(lambda: client.can_connect(server.ipv4, 80, 0.5), 20, "a connection")


def test_second_switch_on_the_same_directory_is_refused(site):
    switch, client, server = site
    second = subprocess.run([SWITCHD, "--rundir", switch.run, "--statedir", switch.state, "--no-huge"],
                            capture_output=True, text=True, timeout=20, check=False, env=switch.environment())
    assert second.returncode != 0
    assert switch.run in second.stderr and "another" in second.stderr
    assert process_is_alive(switch.pid()), "the first one goes on"
    assert client.ping(server.ipv4) == 1


def test_up_can_be_repeated(site):
    switch, client, server = site
    pids = switch.pid(), switch.pid("ovsdb-server")
    switch.up()
    assert (switch.pid(), switch.pid("ovsdb-server")) == pids
    assert client.ping(server.ipv4) == 1


def test_down_leaves_nothing_behind(site):
    switch, *_ = site
    switch.cordon("down")
    assert switch.try_cordon("status").returncode != 0
    assert not glob.glob(os.path.join(switch.run, "*.pid"))
    assert switch.try_cordon("down").returncode == 0, "and can be repeated"


def free_hugepages():
    with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", encoding="ascii") as file:
        return int(file.read())


def test_hugepages_hold_the_connections_across_a_restart(new_switch):
    """The table is then on a hugetlbfs of the switch's own, which outlives it."""
    if not os.path.exists("/sys/kernel/mm/hugepages/hugepages-2048kB") or free_hugepages() < 500:
        pytest.skip("needs 500 free hugepages of 2 MiB: echo 1024 >/proc/sys/vm/nr_hugepages")
    switch = new_switch("huge", up_options=("--workers", "1"))
    switch.add_network()
    switch.policy(POLICY.format(action="allow"))
    client, server = switch.host("client", 1), switch.host("server", 2)
    assert switch.status()["huge_pages"]
    assert os.path.ismount(os.path.join(switch.run, "huge"))
    with TcpServer(server, 80):
        connection = client.connect(server.ipv4, 80, seconds=20)
        assert exchange(connection, b"before")
        switch.kill("cordon-switchd")
        switch.up()
        assert switch.status()["connections"]["adopted"] >= 1
        assert exchange(connection, b"after")
        connection.close()
    pid, place = switch.pid(), os.path.join(switch.run, "huge")
    assert os.listdir(place) == ["connections"]
    switch.cordon("down")
    # How many are free, others decide as well.
    assert not os.path.exists(place) and not process_is_alive(pid), "stopping gives the pages back"
