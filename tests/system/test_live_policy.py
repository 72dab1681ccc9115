# SPDX-License-Identifier: Apache-2.0
"""A change of the policy while connections are alive, and policies that are not accepted.

    web .1        app .2
      |             |
    --+-------------+--  network lan, VLAN 10
"""

import pytest

from cordon import CommandFailed, wait_for
from host import TcpServer, UdpServer

POLICY = """\
zones:
  web: {{match: "zone=web"}}
  app: {{match: "zone=app"}}
policies:
  - id: shop
    mode: enforce
    rules:
      - {{id: web-to-app, from: web, to: app, service: tcp/80, action: {action}, log: session}}
      - {{id: web-dns, from: web, to: app, service: udp/53, action: allow}}
baseline: {{between_zones: deny, within_zone: allow, log: denied}}
"""


@pytest.fixture(scope="module")
def site(shared):
    shared.add_network()
    shared.policy(POLICY.format(action="allow"))
    web, app = shared.host("web", 1), shared.host("app", 2)
    with TcpServer(app, 80) as tcp, UdpServer(app, 53):
        yield shared, web, app, tcp


def exchange(connection, text):
    connection.sendall(text)
    return connection.recv(100) == text


def test_new_deny_cuts_a_live_connection_and_a_new_allow_heals(site, version):
    switch, web, app, _ = site
    switch.policy(POLICY.format(action="allow"))
    connection = web.connect(app.address(version), 80, seconds=10)
    assert exchange(connection, b"before")
    switch.policy(POLICY.format(action="deny"))
    before = switch.drops()["policy"]
    connection.sendall(b"after")
    wait_for(lambda: switch.drops()["policy"] > before, what="its packets among the drops, by name")
    connection.settimeout(1.0)
    with pytest.raises(TimeoutError):
        connection.recv(100)
    assert web.can_ask(app.address(version), 53), "what the change does not concern goes on"
    ends = switch.wait_log(kind="end", reason="policy", source_address=web.address(version))
    assert ends[-1]["rule"] == "web-to-app"
    connection.close()
    switch.policy(POLICY.format(action="allow"))
    assert web.can_connect(app.address(version), 80, 10), "a new connection opens"


def test_live_connection_keeps_its_state_through_a_change_that_allows_it(site, version):
    switch, web, app, _ = site
    switch.policy(POLICY.format(action="allow"))
    connection = web.connect(app.address(version), 80, seconds=10)
    port = connection.getsockname()[1]
    for turn in range(3):
        switch.policy(POLICY.format(action="allow") + f"# turn {turn}\n")
        assert exchange(connection, b"turn %d" % turn)
    row, = switch.connections(source=web.address(version), source_port=port, destination_port=80)
    history = switch.json("policy", "history")
    assert row["state"] == "ESTABLISHED"
    assert row["policy_revision"] == max(row["revision"] for row in history)
    connection.close()


BAD = [
    ("unknown-key", "zones:\n  web: {match: \"zone=web\", colour: red}\n", "colour", 2),
    ("unknown-zone", "zones:\n  web: {match: \"zone=web\"}\npolicies:\n  - id: p\n    mode: enforce\n    rules:\n"
     "      - {id: r, from: web, to: nowhere, action: allow}\n", "nowhere", 7),
    ("unknown-action", "zones:\n  web: {match: \"zone=web\"}\npolicies:\n  - id: p\n    mode: enforce\n    rules:\n"
     "      - {id: r, from: web, to: web, action: permit}\n", "permit", 7),
    ("bad-prefix", "zones:\n  out: {cidrs: [10.0.0.0/33]}\n", "10.0.0.0/33", 2),
    ("no-yaml", "zones: [\n", "", None),
]


@pytest.mark.parametrize("document, word, line", [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_malformed_policy_changes_nothing(site, document, word, line):
    switch, web, app, _ = site
    before = switch.json("policy", "history")
    with pytest.raises(CommandFailed) as failure:
        switch.policy(document)
    assert word in failure.value.message
    if line:
        assert f"{line}:" in failure.value.message, "the line is named"
    assert switch.json("policy", "history") == before
    assert web.can_connect(app.ipv4, 80, 10), "the former policy is still in force"


def test_policy_check_needs_no_switch(new_switch, tmp_path):
    idle = new_switch("check", up=False)
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(POLICY.format(action="allow"))
    bad.write_text(POLICY.format(action="permit"))
    idle.cordon("policy", "check", good)
    result = idle.try_cordon("policy", "check", bad)
    assert result.returncode != 0
    assert "permit" in result.stdout + result.stderr


def test_history_keeps_every_revision(site):
    switch, *_ = site
    switch.policy(POLICY.format(action="allow"), why="before the change")
    first = switch.json("policy", "history")
    switch.policy(POLICY.format(action="deny"), why="CHG-4711")
    rows = switch.json("policy", "history")
    newest = max(rows, key=lambda row: row["revision"])
    assert len(rows) == len(first) + 1
    assert newest["comment"] == "CHG-4711"
    assert "action: deny" in switch.cordon("policy", "show", newest["revision"])
    assert "action: allow" in switch.cordon("policy", "show", newest["revision"] - 1)


def test_before_the_first_policy_nothing_passes(switch):
    switch.add_network()
    web, app = switch.host("web", 1), switch.host("app", 2)
    with TcpServer(app, 80):
        assert not web.can_connect(app.ipv4, 80, 0.5)
        wait_for(lambda: switch.drops()["quarantine"] > 0, what="the drops by name")
        switch.policy(POLICY.format(action="allow"))
        assert web.can_connect(app.ipv4, 80, 10), "a connection under the first policy"
