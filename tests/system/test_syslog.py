# SPDX-License-Identifier: Apache-2.0
"""The traffic log in syslog servers' hands: every field of every record, over UDP, TCP and TLS, and servers that are no good.

    web .1      app .2      db .3           web may speak to app, not to db
      |           |           |
    --+-----------+-----------+--  network lan, VLAN 10            servers: on the loopback of the test's host
"""

import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from cordon import wait_for
from host import TcpServer, UdpServer
from syslog_server import Authority, Rsyslog, SyslogServer, fields_of

POLICY = """\
zones:
  web: {match: "zone=web"}
  app: {match: "zone=app"}
  db: {match: "zone=db"}
tiers: [application]
policies:
  - id: shop
    tier: application
    mode: enforce
    rules:
      - {id: web-to-app, from: web, to: app, service: tcp/80, action: allow, log: session, label: 'CHG-1 "new" [a\\b]'}
      - {id: web-dns, from: web, to: app, service: udp/53, action: allow, log: session}
      - {id: ping, from: web, to: app, service: icmp/8, action: allow, log: session}
      - {id: no-db, from: web, to: db, action: deny, log: denied, label: CHG-2}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""
SEVERITIES = {"start": 6, "end": 6, "denied": 4, "gap": 3, "spoofed": 1}
TRANSPORTS = ("udp", "tcp", "tls")


@pytest.fixture
def site(switch):
    switch.add_network()
    switch.policy(POLICY)
    web = switch.host("web", 1, port_options={"vm_name": "wéb"})
    return switch, web, switch.host("app", 2), switch.host("db", 3)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def send_to(switch, endpoint, transport, authority, *options):
    words = [f"server={endpoint}", f"transport={transport}", *options]
    if transport == "tls" and not any(word.startswith("ca=") for word in options):
        words.append(f"ca={authority.certificate}")
    switch.cordon("sink", "add", "siem", "syslog", *words)
    wait_for(lambda: sink(switch)["state"] == "ok", 20, "an open sink")


def sink(switch, name="siem"):
    return switch.json("sink", "show", name)


def make_traffic(site):
    """A session over each IP version, a ping, two denials and a frame in another's name; returns their records."""
    switch, web, app, db = site
    with TcpServer(app, 80):
        for version in (4, 6):
            connection = web.connect(app.address(version), 80)
            connection.sendall(b"x" * 1000)
            left = 1000
            while left:
                left -= len(connection.recv(1000))
            connection.close()
            assert not web.can_connect(db.address(version), 1111, 0.3)
        assert web.ping(app.ipv4, 2) == 2
        wait_for(lambda: len(switch.connections(state="TIME-WAIT")) == 2, 20, "both sessions are over")
    web.packets.send(Ether(src="02:00:00:00:ff:01", dst=app.mac) / IP(src=web.ipv4, dst=app.ipv4) / UDP(sport=1, dport=53))
    switch.cordon("conn", "flush", "--port", "web")
    switch.wait_log(kind="end", protocol="icmp")
    switch.wait_log(count=2, kind="end", protocol="tcp")
    switch.wait_log(count=2, kind="denied")
    switch.wait_log(kind="spoofed")
    return switch.log()


# --- What arrives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_field_of_every_record(site, authority, transport):
    switch = site[0]
    certificate = authority.make("good", "IP:127.0.0.1") if transport == "tls" else None
    with SyslogServer(transport, certificate) as server:
        send_to(switch, server.endpoint, transport, authority, "facility=auth")
        records = make_traffic(site)
        for record in records:
            server.wait(sequence=str(record["sequence"]))
        assert not server.error
    messages = {message["elements"]["cordon@32473"]["sequence"]: message for message in server.messages}
    for record in records:
        message = messages[str(record["sequence"])]
        assert message["elements"]["cordon@32473"] == fields_of(record)
        assert (message["facility"], message["severity"]) == (4, SEVERITIES[record["kind"]])
        assert (message["host"], message["application"], message["kind"]) == (record["host"], "cordon", record["kind"])
        assert message["process"] == str(switch.pid())
        seconds, _, parts = message["time"].rstrip("Z").partition(".")
        assert (seconds, int(parts)) == (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record["time_ns"] // 10**9)),
                                         record["time_ns"] // 1000 % 10**6)
    denial = next(message["sentence"] for message in server.messages if message["kind"] == "denied")
    assert denial.startswith("Denied tcp from wéb ") and "by rule shop/no-db of revision 1" in denial


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_rsyslog_takes_it_apart(site, authority, transport, tmp_path):
    switch = site[0]
    rsyslog = Rsyslog(str(tmp_path), authority)
    switch.on_close(rsyslog.close)
    send_to(switch, rsyslog.endpoint(transport), transport, authority)
    records = make_traffic(site)

    def taken():
        return {message["$!"]["rfc5424-sd"]["cordon@32473"]["sequence"]: message for message in rsyslog.messages()
                if message["app-name"] == "cordon"}

    wait_for(lambda: {str(record["sequence"]) for record in records} <= set(taken()), 20, "all records are with rsyslog")
    messages = taken()
    for record in records:
        message = messages[str(record["sequence"])]
        assert message["$!"]["rfc5424-sd"]["cordon@32473"] == fields_of(record)
        assert (message["syslogfacility"], message["syslogseverity"]) == ("20", str(SEVERITIES[record["kind"]]))
        assert (message["hostname"], message["msgid"], message["procid"]) == (
            record["host"], record["kind"], str(switch.pid()))
        assert message["timereported"].startswith(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record["time_ns"] // 10**9)))


# --- Servers that come and go --------------------------------------------------------------------------------------


def ask(site, first, last):
    """One connection for each source port."""
    _, web, app, _ = site
    for port in range(first, last):
        assert web.can_ask(app.ipv4, 53, source_port=port)


def starts(server):
    return {record["source_transport_port"] for record in server.records(kind="start", rule="web-dns")}


def ports(first, last):
    return {str(port) for port in range(first, last)}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_server_that_is_not_there_gets_all_later(site, authority, transport):
    switch, _, app, _ = site
    certificate = authority.make("late", "IP:127.0.0.1") if transport == "tls" else None
    probe = SyslogServer(transport, certificate)
    probe.close()
    options = [f"ca={authority.certificate}"] if transport == "tls" else []
    switch.cordon("sink", "add", "siem", "syslog", f"server={probe.endpoint}", f"transport={transport}", *options)
    with UdpServer(app, 53):
        ask(site, 20000, 20020)
        error = wait_for(lambda: sink(switch)["error"], 20, "the sink says so")
        assert probe.endpoint in error and "refused" in error
        assert any("siem" in text for text in switch.status()["warnings"])
        wait_for(lambda: sink(switch)["waiting"] >= 20, 20, "records that wait")
        switch.wait_log(count=20, kind="start", rule="web-dns")  # Another sink is not held up.
        with SyslogServer(transport, certificate, port=probe.port) as server:
            wait_for(lambda: starts(server) >= ports(20000, 20020), 40, "what was written meanwhile")
            wait_for(lambda: sink(switch)["state"] == "ok", 20, "all is well")
            ask(site, 20020, 20030)
            wait_for(lambda: starts(server) == ports(20000, 20030), 20, "and what comes")
            assert not server.error and sink(switch)["lost"] == 0
            assert not server.records(kind="gap")


@pytest.mark.parametrize("transport", ("tcp", "tls"))
def test_server_is_restarted(site, authority, transport):
    """It closes while nothing is sent: the next record goes to a new connection, and is not written to the old one."""
    switch, _, app, _ = site
    certificate = authority.make("again", "IP:127.0.0.1") if transport == "tls" else None
    with UdpServer(app, 53):
        with SyslogServer(transport, certificate) as first:
            send_to(switch, first.endpoint, transport, authority)
            ask(site, 21000, 21010)
            wait_for(lambda: starts(first) == ports(21000, 21010), 20, "the first ten")
            wait_for(lambda: sink(switch)["waiting"] == 0, 20, "are delivered")
        wait_for(lambda: sink(switch)["state"] != "ok", 20, "that the server is gone is seen")
        ask(site, 21010, 21020)
        with SyslogServer(transport, certificate, port=first.port) as second:
            wait_for(lambda: starts(second) >= ports(21010, 21020), 40, "the next ten")
            assert not second.error and sink(switch)["lost"] == 0
            assert starts(first) | starts(second) == ports(21000, 21020)


@pytest.mark.parametrize("transport", ("tcp", "tls"))
def test_server_that_never_reads_holds_up_nobody(site, authority, transport):
    """The backlog of this one sink fills; what has no room is a gap once the server reads.  The others have all."""
    switch, _, app, _ = site
    certificate = authority.make("deaf", "IP:127.0.0.1") if transport == "tls" else None
    with SyslogServer(transport, certificate, reads=False) as deaf, UdpServer(app, 53):
        send_to(switch, deaf.endpoint, transport, authority, "backlog-bytes=1048576")

        def lost():
            ask(site, 20000, 20300)
            switch.cordon("conn", "flush", "--all")
            wait_for(lambda: switch.status()["connections"]["count"] == 0, 20, "an empty table")
            return sink(switch)["lost"]

        wait_for(lost, 180, "records lost for want of room", interval=0)
        ask(site, 30000, 30010)
        wait_for(lambda: {row["source_transport_port"] for row in switch.log(kind="start")} >= set(range(30000, 30010)),
                 20, "the other sink has all")
        assert sink(switch, "default")["lost"] == 0 and not switch.log(kind="gap")
    with SyslogServer(transport, certificate, port=deaf.port) as server, UdpServer(app, 53):
        wait_for(lambda: (one := sink(switch))["state"] == "ok" and one["waiting"] == 0, 60, "all is delivered")
        # Delivered to the server's kernel: it has read all that stands before what it has read, and there are several gaps.
        ask(site, 30010, 30011)
        server.wait(kind="start", source_transport_port="30010")
        assert not server.error
    gaps = {gap["sequence"]: gap for gap in server.records(kind="gap")}  # What was not confirmed comes again.
    assert gaps and {gap["reason"] for gap in gaps.values()} == {"backlog-full"}
    assert sum(int(gap["packets_forward"]) for gap in gaps.values()) == sink(switch)["lost"]


# --- Certificates --------------------------------------------------------------------------------------------------


def complaint(switch, server):
    """About this server: the sink may have had another one a moment ago."""
    return wait_for(lambda: server.endpoint in (error := sink(switch)["error"]) and error, what="a complaint")


def test_wrong_certificates_are_named(site, authority, tmp_path):
    """Each is refused with a sentence that says what is wrong; setting right what it names makes the sink work."""
    switch, _, app, _ = site
    other = Authority(tmp_path, "other")
    cases = {
        "expired": (authority.make("expired", "IP:127.0.0.1", days=0), "expired at 20"),
        "name": (authority.make("name", "DNS:logs.example,IP:192.0.2.1"), "is for logs.example, 192.0.2.1, not for 127.0.0.1"),
        "untrusted": (other.make("untrusted", "IP:127.0.0.1"), "is signed by 'other'"),
        "self-signed": ((other.certificate, str(tmp_path / "other.key")), "nobody but itself"),
    }
    time.sleep(1.1)  # The certificate of no days must be over.
    for name, (certificate, sentence) in cases.items():
        with SyslogServer("tls", certificate) as server:
            switch.cordon("sink", "add", "siem", "syslog", f"server={server.endpoint}", "transport=tls",
                          f"ca={authority.certificate}")
            assert sentence in complaint(switch, server), name
            assert not server.messages
            assert sentence in switch.cordon("sink", "list"), "and people see it"
        switch.cordon("sink", "del", "siem")
    with SyslogServer("tls", cases["name"][0]) as server, UdpServer(app, 53):
        switch.cordon("sink", "add", "siem", "syslog", f"server={server.endpoint}", "transport=tls",
                      f"ca={authority.certificate}")
        complaint(switch, server)
        ask(site, 22000, 22010)
        switch.cordon("sink", "set", "siem", "server-name=logs.example")
        wait_for(lambda: starts(server) == ports(22000, 22010), 20, "what had waited")
        assert sink(switch)["lost"] == 0


def test_options_are_checked_at_once(site):
    switch = site[0]
    for words, sentence in (
            (["transport=tcp"], "needs server="),
            (["server=a", "transport=tls", "key=/k.pem"], "needs certificate="),
            (["server=a", "ca=/ca.pem"], "nothing without transport=tls"),
            (["server=a", "transport=tls", "fingerprint=12"], "hexadecimal"),
            (["server=a", "facility=kern"], "must be one of")):
        result = switch.try_cordon("sink", "add", "siem", "syslog", *words)
        assert result.returncode != 0 and sentence in result.stderr, result.stderr
    switch.cordon("sink", "add", "siem", "syslog", "server=127.0.0.1:9", "transport=tls", "ca=/ca.pem")
    result = switch.try_cordon("sink", "set", "siem", "transport=tcp")
    assert result.returncode != 0 and "ca= means nothing without transport=tls" in result.stderr
