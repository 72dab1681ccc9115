# SPDX-License-Identifier: Apache-2.0
"""What people ask of the traffic log, one command a question, of traffic that the test has made.

    web-1 .1     web-2 .2     db-1 .3     partner .9 (beyond an uplink)
      |            |            |            |
    --+------------+------------+------------+--  network lan, VLAN 10

For IPv4 and IPv6 each:

    web-1   -> db-1     tcp/5432    3 times, allowed by shop/web-to-db
    web-2   -> web-1    udp/53      once, allowed by default
    db-1    -> partner  tcp/443     twice, denied by egress/no-partner
    partner -> web-1    tcp/22      once, denied by default
    web-2   -> db-1     udp/9       once, in web-1's name
"""

import contextlib
import csv
import io
import os
import signal
import subprocess
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

import cordon
from cordon import wait_for
from host import TcpServer, UdpServer

POLICY = """\
zones:
  web: {match: "zone=web"}
  db: {match: "zone=db"}
  partner: {cidrs: [10.0.0.9, "fd00::9"]}
policies:
  - id: trial
    tier: emergency
    mode: simulate
    rules:
      - {id: no-db, from: web, to: db, service: tcp/5432, action: deny}
  - id: egress
    rules:
      - {id: no-partner, from: db, to: partner, action: deny, label: CHG-7}
  - id: shop
    rules:
      - {id: web-to-db, from: web, to: db, service: tcp/5432, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: session}
"""


def stamp(seconds):
    """A time for --since and --until, to the microsecond."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f"{seconds % 1:.6f}Z"[1:]


class Site:
    """The switch and its hosts; `began` and `ended` are when the traffic was made, in seconds since 1970."""

    def __init__(self, switch):
        self.switch = switch
        switch.add_network()
        switch.policy(POLICY)
        self.web_1 = switch.host("web-1", 1, zone="web")
        self.web_2 = switch.host("web-2", 2, zone="web")
        self.db_1 = switch.host("db-1", 3, zone="db")
        self.partner = switch.uplink("partner", 9)
        for one in (self.web_1, self.web_2, self.db_1, self.partner):
            for other in (self.web_1, self.web_2, self.db_1, self.partner):
                if one is not other:
                    one.knows(other)
        self.began = time.time()
        switch.wait_quiet()  # A worker stamps records by a clock that it has read since then.
        for version in (4, 6):
            self.talk(version)
        switch.cordon("conn", "flush", "--all")
        switch.wait_log(count=6, kind="end", rule="web-to-db")
        switch.wait_log(count=2, kind="end", rule="web->web")
        switch.wait_log(count=2, kind="spoofed")
        switch.wait_log(count=2, kind="denied", rule="partner->web")
        self.ended = time.time()

    def talk(self, version):
        with TcpServer(self.db_1, 5432), UdpServer(self.web_1, 53):
            for _ in range(3):
                with contextlib.closing(self.web_1.connect(self.db_1.address(version), 5432)) as connection:
                    connection.sendall(b"x" * 500)
                    assert connection.recv(1)
            assert self.web_2.can_ask(self.web_1.address(version), 53)
        for _ in range(2):
            assert not self.db_1.can_connect(self.partner.address(version), 443, 0.3)
        assert not self.partner.can_connect(self.web_1.address(version), 22, 0.3)
        ip = (IP(src=self.web_1.ipv4, dst=self.db_1.ipv4) if version == 4 else
              IPv6(src=self.web_1.ipv6, dst=self.db_1.ipv6))
        self.web_2.packets.send(Ether(src=self.web_2.mac, dst=self.db_1.mac) / ip / UDP(sport=1, dport=9))

    def ask(self, *words):
        return self.switch.json("log", *words)


@pytest.fixture(scope="module")
def site(shared):
    return Site(shared)


def one_of(rows, **fields):
    """The only row with these values."""
    found = [row for row in rows if all(row[name] == value for name, value in fields.items())]
    assert len(found) == 1, f"{len(found)} rows with {fields} in {rows}"
    return found[0]


def test_what_is_being_denied(site, version):
    row = one_of(site.ask("denied"), source_vm_name="db-1", destination_address=site.partner.address(version))
    assert (row["refused"], row["protocol"], row["destination_transport_port"]) == (2, "tcp", 443)
    assert (row["policy"], row["rule"], row["label"], row["reason"]) == ("egress", "no-partner", "CHG-7", "policy")
    row = one_of(site.ask("denied"), source_zone="partner", destination_address=site.web_1.address(version))
    assert (row["refused"], row["rule"]) == (1, "partner->web")
    assert {row["kind"] for row in site.ask("denied")} == {"denied", "spoofed"}
    assert "egress/no-partner" in site.switch.cordon("log", "denied")
    assert site.ask("denied", "--since", "2h", "--until", "1h") == []


def test_denials_as_they_come(site, version, tmp_path):
    output = tmp_path / "denials"
    with open(output, "wb") as file:
        follower = subprocess.Popen([cordon.CORDON, "log", "denied", "-f", "--json"], stdout=file,
                                    env=site.switch.environment())
    try:
        wait_for(lambda: output.read_text().count("no-partner") >= 4, 20, "those that are there")
        with TcpServer(site.db_1, 5432):
            site.web_1.connect(site.db_1.address(version), 5432).close()
        port = 4000 + version
        assert not site.partner.can_connect(site.web_1.address(version), port, 0.3)
        wait_for(lambda: f":{port}," in output.read_text(), 20, "the new one")
        assert '"kind":"start"' not in output.read_text(), "nothing that was allowed"
        assert output.read_text().count(f":{port},") == 1
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(20) == 0


def test_who_talks_to_a_vm(site, version):
    rows = site.ask("talks", "db-1", "--until", stamp(site.ended))
    row = one_of(rows, direction="in", verdict="allowed", destination_address=site.db_1.address(version))
    assert (row["source_vm_name"], row["source_address"]) == ("web-1", site.web_1.address(version))
    assert (row["connections"], row["destination_transport_port"], row["rule"]) == (3, 5432, "web-to-db")
    assert row["bytes_forward"] > 1500 and row["bytes_reverse"] > 1500
    assert site.began * 1e9 <= row["first_ns"] <= row["last_ns"] <= site.ended * 1e9
    row = one_of(rows, direction="out", source_address=site.db_1.address(version))
    assert (row["destination_zone"], row["destination_transport_port"], row["refused"]) == ("partner", 443, 2)
    assert site.ask("talks", "db", "--until", stamp(site.ended)) and site.ask("talks", "--zone", "db", "--until", stamp(site.ended)) == rows
    rows = site.ask("talks", site.partner.address(version), "--until", stamp(site.ended))
    assert {(row["direction"], row["verdict"]) for row in rows} == {("in", "denied"), ("out", "denied")}
    rows = site.ask("talks", "--zone", "web", "--verdict", "allowed", "--transport-port", "53")
    assert {row["direction"] for row in rows} == {"within"}


def test_which_zones_talk(site):
    cells = {(row["source_zone"], row["destination_zone"]): (row["allowed"], row["unprotected"], row["denied"])
             for row in site.ask("matrix", "--until", stamp(site.ended))}
    assert cells[("web", "db")][:2] == (6, 0)
    assert cells[("web", "web")] == (0, 2, 0)
    assert cells[("db", "partner")] == (0, 0, 4)
    assert cells[("partner", "web")] == (0, 0, 2)
    assert cells[("web", "")] == (0, 0, 2), "what is spoofed is refused before anybody asks where to"
    table = site.switch.cordon("log", "matrix", "--until", stamp(site.ended)).splitlines()
    assert table[0].split() == ["FROM", "TO", *(to or "(none)" for to in sorted({to for _, to in cells}))]
    rows = list(csv.DictReader(io.StringIO(site.switch.cordon("log", "matrix", "--until", stamp(site.ended), "--csv"))))
    assert {(row["source_zone"], row["destination_zone"]): int(row["denied"]) for row in rows} == {
        pair: counts[2] for pair, counts in cells.items()}


def test_unprotected_traffic_without_records_is_named(new_switch):
    switch = new_switch("unlogged")
    switch.add_network()
    switch.policy(POLICY.replace("log: session}\n", "log: denied}\n"))
    one, other = switch.host("web-1", 1, zone="web"), switch.host("web-2", 2, zone="web")
    with UdpServer(other, 53):
        assert one.can_ask(other.ipv4, 53)

    def told():
        result = switch.try_cordon("log", "matrix")
        return "without a record" in result.stderr and result

    result = wait_for(told, 20, "the pair that leaves no record")
    assert result.returncode == 0 and "web->web (1)" in result.stderr


def test_top_talkers(site):
    rows = site.ask("top", "--by", "connections", "--until", stamp(site.ended))
    assert rows[0]["name"] == "web-1" and (rows[0]["opened"], rows[0]["accepted"]) == (6, 2)
    assert one_of(rows, name="db-1")["accepted"] == 6 and one_of(rows, name="db-1")["refused"] >= 4
    most = [row["bytes"] for row in site.ask("top", "--of", "address")]
    assert most == sorted(most, reverse=True) and most[0] > 0
    assert site.ask("top", "--of", "rule", "--by", "refused", "--until", stamp(site.ended))[0]["name"] == "egress/no-partner"
    assert one_of(site.ask("top", "--of", "service", "--until", stamp(site.ended)), name="tcp/5432")["connections"] == 6
    assert one_of(site.ask("top", "--of", "zone", "--until", stamp(site.ended)), name="web")["opened"] == 8


def test_what_was_never_seen_before(site, version):
    site.switch.wait_quiet()
    since = time.time()
    site.switch.wait_quiet()  # A worker stamps records by a clock that it has read since then.
    port = 6000 + version
    with UdpServer(site.web_1, port), UdpServer(site.web_1, 53):
        assert site.web_2.can_ask(site.web_1.address(version), 53)
        assert site.web_2.can_ask(site.web_1.address(version), port)
    site.switch.wait_log(kind="start", destination_transport_port=port)
    text = stamp(since)
    row, = site.ask("new", "--since", text)
    assert (row["source_vm_name"], row["destination_vm_name"]) == ("web-2", "web-1")
    assert (row["protocol"], row["destination_transport_port"], row["connections"]) == ("udp", port, 1)
    assert "is known from" in site.switch.try_cordon("log", "new", "--since", text).stderr


def test_spoof_attempts(site, version):
    row = one_of(site.ask("spoofed"), claimed_address=site.web_1.address(version))
    assert (row["vm_name"], row["port"], row["reason"], row["attempts"]) == ("web-2", "web-2", "spoofed-address", 1)
    assert row["claimed_mac"] == site.web_2.mac


def test_what_a_simulated_policy_would_block(site):
    row, = site.ask("simulated", "--until", stamp(site.ended))
    assert (row["source_zone"], row["destination_zone"], row["destination_transport_port"]) == ("web", "db", 5432)
    assert (row["verdict"], row["simulated_verdict"], row["times"]) == ("allowed", "denied", 6)
    assert (row["simulated_policy"], row["simulated_rule"]) == ("trial", "no-db")
    assert {row["source_vm_name"] for row in site.ask("simulated", "--vms")} == {"web-1"}


def test_a_log_without_gaps_says_so(site):
    result = site.switch.try_cordon("log", "gaps")
    assert (result.returncode, result.stdout) == (0, "") and "No gaps found" in result.stderr
    assert site.ask("gaps") == []


def test_a_damaged_file_among_good_ones(site):
    """The others are read, and it is said which one is missing."""
    path = os.path.join(site.switch.state, "log", "traffic-20200101T000000Z.db")
    with open(path, "wb") as file:
        file.write(b"not a database " * 1000)
    try:
        for question in (["denied"], ["talks", "db-1"], ["matrix"], ["top"], ["new"], ["gaps"]):
            result = site.switch.try_cordon("log", *question, "--json", "--since", "2019-01-01")
            assert result.returncode == 1 and path in result.stderr, question
            assert len(result.stdout) > 10, question
        assert "damaged" in result.stdout
    finally:
        os.unlink(path)


# --- Before and after, and what to write ---------------------------------------------------------------------------


BEFORE = """\
zones:
  web: {match: "zone=web"}
  db: {match: "zone=db"}
services:
  postgres: tcp/5432
policies:
  - id: shop
    rules:
      - {id: web-to-db, from: web, to: db, service: [postgres, tcp/80], action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: session}
"""


@pytest.fixture
def shop(switch):
    """A web server and a database; both know each other."""
    switch.add_network()
    switch.policy(BEFORE)
    web, db = switch.host("web-1", 1, zone="web"), switch.host("db-1", 3, zone="db")
    web.knows(db)
    db.knows(web)
    return switch, web, db


def test_before_and_after_a_revision(shop, version):
    switch, web, db = shop
    with TcpServer(db, 5432), TcpServer(db, 80):
        time.sleep(1.1)  # Revisions are known by the second.
        began = time.monotonic()
        for port in (5432, 80):
            assert web.can_connect(db.address(version), port)
        assert not web.can_connect(db.address(version), 22, 0.3)
        switch.wait_log(kind="denied")
        switch.policy(BEFORE.replace("[postgres, tcp/80]", "[postgres, tcp/22]"))
        changed = time.monotonic()
        time.sleep(0.2)
        for port in (5432, 80, 22):
            web.can_connect(db.address(version), port, 0.3)
        switch.wait_log(kind="denied", destination_transport_port=80)
        switch.wait_log(count=2, kind="start", policy_revision=2)
    # The spans are equally long: what came before needs as much behind it.
    time.sleep(max(0, changed - began + 1.5 - (time.monotonic() - changed)))
    answer = switch.json("log", "compare", "2")
    assert answer["revision"] == 2 and answer["time_known_from"] == "database"
    before, after = answer["before"], answer["after"]
    assert before["until_ns"] == after["since_ns"] == answer["time_ns"]
    assert before["until_ns"] - before["since_ns"] == after["until_ns"] - after["since_ns"]
    rows = {row["destination_transport_port"]: row for row in answer["rows"]}
    assert rows[80]["change"] == "now denied" and (rows[80]["before_allowed"], rows[80]["after_denied"]) == (1, 1)
    assert (rows[80]["before_rules"], rows[80]["after_rules"]) == (["shop/web-to-db"], ["baseline/web->db"])
    assert rows[22]["change"] == "now allowed" and 5432 not in rows
    assert (rows[22]["source_vm_name"], rows[22]["destination_vm_name"]) == ("web-1", "db-1")
    everything = {row["destination_transport_port"]: row["change"]
                  for row in switch.json("log", "compare", "2", "--all", "--zones")["rows"]}
    assert everything == {80: "now denied", 22: "now allowed", 5432: "same"}
    assert "1 denied by baseline/web->db" in switch.cordon("log", "compare", "2")
    assert switch.try_cordon("log", "compare", "9").returncode == 3


def test_rules_are_suggested_that_allow_what_was_seen(shop, version, tmp_path):
    """What comes out is a valid policy, and with it, what was refused would pass."""
    switch, web, db = shop
    switch.policy(BEFORE.replace("service: [postgres, tcp/80]", "service: tcp/81"))
    with TcpServer(db, 81):
        assert web.can_connect(db.address(version), 81)
        for _ in range(3):
            assert not web.can_connect(db.address(version), 5432, 0.2)
        assert not web.can_connect(db.address(version), 22, 0.2), "once only"
        for port in range(9000, 9015):
            assert not db.can_connect(web.address(version), port, 0.05), "a scan, the other way"
    switch.wait_log(count=3, kind="denied", destination_transport_port=5432)
    switch.wait_log(kind="denied", destination_transport_port=22)

    def scanned():
        """A record that brings nothing but the count of those that were held back has no packets."""
        return sum((row["packets_forward"] > 0) + row["suppressed"] for row in switch.log(kind="denied", source_zone="db"))

    wait_for(lambda: scanned() >= 15, what="the scan in the log")
    switch.cordon("conn", "flush", "--all")
    switch.wait_log(kind="end", rule="web-to-db")
    text = switch.cordon("log", "suggest", "db")
    assert "service: [postgres, tcp/81], action: allow" in text
    assert "refused fewer than 3 times" in text and "tcp/22" in text and "a scan: db-1" in text
    path = tmp_path / "suggested.yaml"
    path.write_text(text)
    assert "is valid" in switch.cordon("policy", "check", path)
    plan = switch.json("policy", "plan", path)["stored"]
    assert plan["allowed"] == 3 and plan["denied"] == 0, plan
    assert {(row["rule_before"], row["rule_after"]) for row in plan["rows"] if row["kind"] == "allowed"} == {
        ("baseline/web->db", "suggested-db/web-to-db")}
    switch.cordon("policy", "apply", path, "-m", "as suggested")
    with TcpServer(db, 5432):
        assert web.can_connect(db.address(version), 5432)
    rules = switch.json("log", "suggest", "db")["rules"]
    assert rules[0]["from"] == ["web"] and rules[0]["services"] == ["postgres", "tcp/81"]


def test_unused_rules_and_their_last_record(shop):
    """What the switch has forgotten to have counted, the log knows, and by which revision it was."""
    switch, web, db = shop
    with TcpServer(db, 5432):
        assert web.can_connect(db.ipv4, 5432)
    start = switch.wait_log(kind="start", rule="web-to-db")[0]
    switch.policy(BEFORE.replace("    rules:\n", "    rules:\n      - {id: never, from: db, to: web, action: allow}\n"))
    wait_for(lambda: [row["rule"] for row in switch.json("rule", "list", "--unused")] == ["never"], 20, "the unused")
    row, = switch.json("rule", "list", "--unused")
    assert (row["logged_last_ns"], row["logged_revision"]) == (0, 0)
    switch.cordon("down")
    for folder in (switch.run, switch.state):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, "rule-hits"))
    switch.up()
    rows = wait_for(lambda: (rows := {row["rule"]: row for row in switch.json("rule", "list", "--unused")})
                    and set(rows) == {"never", "web-to-db"} and rows, what="both as unused")
    assert rows["web-to-db"]["logged_last_ns"] >= start["time_ns"] and rows["web-to-db"]["logged_revision"] == 1
    assert "@1" in switch.cordon("rule", "list", "--unused")
    rows = list(csv.DictReader(io.StringIO(switch.cordon("rule", "list", "--unused", "--csv"))))
    assert {row["rule"] for row in rows} == {"never", "web-to-db"}
