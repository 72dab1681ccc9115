# SPDX-License-Identifier: Apache-2.0
"""Who and what a record names: those of the moment that it tells of, whatever has changed since.

    web .1        app .2
      |             |
    --+-------------+--  network lan, VLAN 10
"""

import socket
import time

import pytest

from cordon import wait_for
from database import insert_revision, transact
from host import UdpServer


def document(number, rules=("echo",)):
    """The policy of revision `number`: each has other names for the zone of web, the policy and its rules."""
    lines = "".join(f'      - {{id: {rule}-{number}, from: web-{number}, to: app, service: udp/7, action: allow,'
                    f' log: session, label: CHG-{number}}}\n' for rule in rules)
    return (f'zones:\n  web-{number}: {{match: "zone=web"}}\n  app: {{match: "zone=app"}}\n'
            f'policies:\n  - id: shop-{number}\n    rules:\n{lines}'
            'baseline: {between_zones: deny, within_zone: allow, log: denied}\n')


def change_vm(switch, name, tags):
    """Another VM at the port of web, in one transaction."""
    transact(switch, {"op": "update", "table": "Port", "where": [["name", "==", "web"]],
                      "row": {"vm_name": name, "vm_id": f"id-{name}", "tags": ["set", tags]}})


@pytest.fixture
def site(switch):
    switch.add_network()
    switch.policy(document(1))
    web, app = switch.host("web", 1), switch.host("app", 2)
    web.knows(app)
    app.knows(web)
    with UdpServer(app, 7):
        yield switch, web, app


def start_of(switch, port):
    return switch.wait_log(kind="start", source_transport_port=port)[0]


def test_a_record_names_the_vm_of_its_moment(site, version):
    """The VM at the port is another one before the log thread has looked at the packet."""
    switch, web, app = site
    port = 20000

    def is_known_as(name):
        nonlocal port
        port += 1
        assert web.can_ask(app.address(version), 7, source_port=port)
        return start_of(switch, port)["source_vm_name"] == name

    for turn in range(8):
        change_vm(switch, f"vm-{turn}", ["zone=web", f"turn={turn}"])
        wait_for(lambda: is_known_as(f"vm-{turn}"), 20, "the switch knows the VM")  # pylint: disable=cell-var-from-loop
        assert web.can_ask(app.address(version), 7, source_port=30000 + turn)
        change_vm(switch, f"late-{turn}", ["zone=web", "late=yes"])
    for turn in range(8):
        start = start_of(switch, 30000 + turn)
        assert (start["source_vm_name"], start["source_vm_id"]) == (f"vm-{turn}", f"id-vm-{turn}")
        assert start["source_tags"] == f"turn={turn} zone=web"
        assert start["source_zone"] == "web-1"


def test_a_record_names_the_policy_of_its_moment(site, version):
    """Many revisions come into force at once, each with other names."""
    switch, web, app = site
    for number in range(2, 14):
        assert web.can_ask(app.address(version), 7, source_port=30000 + number)
        insert_revision(switch, number, document(number))
    switch.policy(document(14))
    assert web.can_ask(app.address(version), 7, source_port=30000 + 14)
    for number in range(2, 15):
        start = start_of(switch, 30000 + number)
        its = start["policy_revision"]
        assert its < number or number == 14
        assert (start["policy"], start["rule"]) == (f"shop-{its}", f"echo-{its}")
        assert (start["source_zone"], start["label"]) == (f"web-{its}", f"CHG-{its}")
    # What lives on is by the revision in force when it ends.
    switch.cordon("conn", "flush", "--all")
    ends = switch.wait_log(count=2, kind="end", reason="flushed")
    for end in ends:
        its = end["policy_revision"]
        assert (end["policy"], end["rule"], end["source_zone"]) == (f"shop-{its}", f"echo-{its}", f"web-{its}")


def test_a_connection_that_ended_while_nobody_looked(site, version):
    """The switch is dead, and the policy another one when it comes back: the end is told by the old names."""
    switch, web, app = site
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with web.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(b"x", (app.address(version), 7))
        assert client.recv(10) == b"x"
        port = client.getsockname()[1]
    start_of(switch, port)
    switch.kill("cordon-switchd")
    transact(switch, {"op": "update", "table": "Host", "where": [],
                      "row": {"other_config": ["map", [["timeout-udp", "2"], ["timeout-udp-unanswered", "2"]]]}})
    insert_revision(switch, 2, document(2))
    time.sleep(3)
    switch.up()
    end = switch.wait_log(kind="end", source_transport_port=port)[0]
    its = end["policy_revision"]
    assert (end["policy"], end["rule"]) == (f"shop-{its}", f"echo-{its}")
    assert (end["source_zone"], end["destination_zone"]) == (f"web-{its}", "app")
    assert (end["source_vm_name"], end["source_tags"]) == ("web", "zone=web")


def test_what_was_held_back_is_of_no_zone_that_it_was_not_in(site):
    switch, web, app = site

    def counts():
        """A record that no packet came with: the last of them were held back, and none followed."""
        for _ in range(30):
            web.can_ask(app.ipv4, 9, seconds=0.001)
        time.sleep(4)
        return [row for row in switch.log(kind="denied") if row["suppressed"] and not row["packets_forward"]]
    row = wait_for(counts, 60, "a record of what was held back")[0]
    assert (row["policy"], row["rule"]) == ("baseline", "web-1->app")
    assert (row["source_zone"], row["destination_zone"]) == ("web-1", "app")
    summary = switch.json("log", "summary", "--verdict", "denied")
    assert {(one["source_zone"], one["destination_zone"]) for one in summary} == {("web-1", "app")}
