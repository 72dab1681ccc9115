# SPDX-License-Identifier: Apache-2.0
"""The traffic log in collectors' hands: the right flows, decoded by programs that are not ours, and none lost unnoticed.

    web .1      app .2      db .3           web may speak to app, not to db
      |           |           |
    --+-----------+-----------+--  network lan, VLAN 10            collectors: on the loopback of the test's host
"""

import time

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from cordon import wait_for
from host import TcpServer, UdpServer
from ipfix import GAP, Capture, Collector, Nfcapd

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
      - {id: web-to-app, from: web, to: app, service: tcp/80, action: allow, log: session, label: CHG-1}
      - {id: web-dns, from: web, to: app, service: udp/53, action: allow, log: session}
      - {id: ping, from: web, to: app, service: icmp/8, action: allow, log: session}
      - {id: no-db, from: web, to: db, action: deny, log: denied, label: CHG-2}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


@pytest.fixture
def site(switch):
    switch.add_network()
    switch.policy(POLICY)
    return switch, *(switch.host(name, number) for number, name in enumerate(("web", "app", "db"), 1))


def export(switch, collector, *options):
    switch.cordon("sink", "add", "flows", "ipfix", f"collector={collector.endpoint}", *options)


def refuse(web, db, version):
    """A request for a connection that no rule allows, sent once."""
    header = IP(src=web.ipv4, dst=db.ipv4) if version == 4 else IPv6(src=web.ipv6, dst=db.ipv6)
    web.packets.send(Ether(src=web.mac, dst=db.mac) / header / TCP(sport=1110, dport=1111, flags="S"))


def make_traffic(site):
    """A session over each IP version, a ping and two denials; returns the log's records of all that."""
    switch, web, app, db = site
    with TcpServer(app, 80):
        for version in (4, 6):
            connection = web.connect(app.address(version), 80, seconds=20)
            connection.sendall(b"x" * 1000)
            left = 1000
            while left:
                left -= len(connection.recv(1000))
            connection.close()
            refuse(web, db, version)
        assert web.ping(app.ipv4, 2) == 2
        wait_for(lambda: len(switch.connections(state="TIME-WAIT")) == 2, 30, "both sessions are over")
    switch.cordon("conn", "flush", "--port", "web")
    switch.wait_log(kind="end", protocol="icmp")
    switch.wait_log(count=2, kind="end", protocol="tcp")
    switch.wait_log(count=2, kind="denied")
    return [record for record in switch.log() if record["kind"] in ("start", "end", "denied")]


def number_of(flow):
    return int.from_bytes(flow[1], "big")


def milliseconds(ns):
    """As nfdump writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns // 10**6 % 1000:03}"


# --- By other people's programs ------------------------------------------------------------------------------------


def test_nfdump_collects(site, tmp_path):
    switch = site[0]
    nfcapd = Nfcapd(tmp_path)
    switch.on_close(nfcapd.close)
    export(switch, nfcapd)
    records = make_traffic(site)
    wait_for(lambda: switch.json("sink", "show", "flows")["waiting"] == 0, 30, "all is delivered")
    flows, said = nfcapd.stop()
    assert "Bad Packets: 0" in said and "error" not in said.replace("Sequence Errors", "").lower(), said
    for record in records:
        version = 6 if ":" in record["source_address"] else 4
        matching = [flow for flow in flows
                    if flow.get(f"src{version}_addr") == record["source_address"]
                    and flow.get(f"dst{version}_addr") == record["destination_address"]
                    and flow["proto"] == {"tcp": 6, "icmp": 1, "icmpv6": 58, "udp": 17}[record["protocol"]]
                    and flow["in_packets"] == record["packets_forward"]
                    and flow["out_packets"] == record["packets_reverse"]
                    and flow["first"] == milliseconds(record["start_ns"])]
        assert matching, f"{record} is not among {flows}"
        assert matching[0]["in_bytes"] == record["bytes_forward"] - 14 * record["packets_forward"]
        assert matching[0]["out_bytes"] == max(0, record["bytes_reverse"] - 14 * record["packets_reverse"])
        assert matching[0]["src_vlan"] == 10 and matching[0]["in_src_mac"] == record["source_mac"]
    assert any(flow["out_bytes"] > 1000 and flow["in_bytes"] > 1000 for flow in flows)


@pytest.mark.parametrize("transport", ("udp", "tcp"))
def test_tshark_decodes_every_record(site, tmp_path, transport):
    switch = site[0]
    with Collector(transport) as collector:
        capture = Capture(tmp_path / "capture.pcap", collector.port)
        switch.on_close(capture.close)
        export(switch, collector, f"transport={transport}", "template-seconds=1")
        records = make_traffic(site)
        collector.wait(cordonSequence=records[-1]["sequence"])
        wait_for(lambda: len([one for one in collector.records if "informationElementName" in one]) > 24
                 or transport == "tcp", 30, "the templates come again")
        capture.stop(collector.last)
        assert not collector.error
    decoded = capture.decode(transport)
    assert not decoded.wrong and decoded.messages >= 3
    flows = {number_of(flow): flow for flow in decoded.flows if 3 in flow}
    for record in records:
        check_flow(flows[record["sequence"]], record)
    names = {int(flow["inputint"]): flow["if_name"] for flow in decoded.flows if "if_name" in flow}
    assert set(names.values()) == {"web", "app", "db"}
    for record in records:
        flow = flows[record["sequence"]]
        assert names[int(flow["inputint"])] == record["source_port"]
        assert names.get(int(flow["outputint"]), "") == record["destination_port"]


def check_flow(flow, record):
    """What tshark shows of a flow against the log's record."""
    version = "v6" if ":" in record["source_address"] else ""
    assert (flow[f"srcaddr{version}"], flow[f"dstaddr{version}"]) == (
        record["source_address"], record["destination_address"])
    if record["protocol"] == "tcp":
        assert int(flow["srcport"]) == record["source_transport_port"]
        assert int(flow["dstport"]) == record["destination_transport_port"]
        assert int(flow["tcpflags"], 16) == record["tcp_flags"]
    assert int(flow["firewall_event"]) == {"start": 1, "end": 2, "denied": 3}[record["kind"]]
    assert int(flow["permanent_packets"]) == record["packets_forward"]
    assert int(flow["reverse permanent_packets"]) == record["packets_reverse"]
    assert int(flow["layer2_octet_total_count"]) == record["bytes_forward"]
    assert int(flow["reverse layer2_octet_total_count"]) == record["bytes_reverse"]
    assert (flow["srcmac"], flow["dstmac"]) == (record["source_mac"], record["destination_mac"])
    assert int(flow["vlanid"]) == record["vlan"] and flow["observation_domain_name"] == record["host"]
    assert int.from_bytes(flow[19], "big") == record["policy_revision"]
    own = {2: "kind", 3: "verdict", 4: "reason", 7: "source_vm_id", 9: "source_vm_name", 11: "source_zone",
           12: "destination_zone", 13: "source_tags", 15: "tier", 16: "policy", 17: "rule", 18: "label"}
    for number, name in own.items():
        assert flow.get(number, b"").decode() == record[name], name


# --- Collectors that come and go -----------------------------------------------------------------------------------


def ask(site, first, last):
    """One connection for each source port, none of which is ended."""
    _, web, app, _ = site
    for port in range(first, last):
        assert web.can_ask(app.ipv4, 53, source_port=port)


def starts(collector):
    return {flow["sourceTransportPort"] for flow in collector.flows(cordonKind="start", cordonRule="web-dns")}


@pytest.mark.parametrize("transport", ("udp", "tcp"))
def test_collector_that_is_not_there_gets_all_later(site, transport):
    switch, _, app, _ = site
    probe = Collector(transport)
    probe.close()
    export(switch, probe, f"transport={transport}")
    with UdpServer(app, 53):
        ask(site, 20000, 20020)
        sink = wait_for(lambda: (one := switch.json("sink", "show", "flows"))["error"] and one, 30, "the sink says so")
        assert probe.endpoint in sink["error"] and "refused" in sink["error"]
        wait_for(lambda: switch.json("sink", "show", "flows")["waiting"] >= 20, 30, "records that wait")
        switch.wait_log(count=20, seconds=30, kind="start", rule="web-dns")  # Another sink is not held up.
        with Collector(transport, probe.port) as collector:
            wait_for(lambda: starts(collector) >= set(range(20000, 20020)), 60, "what was written meanwhile")
            ask(site, 20020, 20030)
            wait_for(lambda: starts(collector) >= set(range(20000, 20030)), 30, "what comes after")
            assert not collector.error
            sink = wait_for(lambda: not (one := switch.json("sink", "show", "flows"))["error"] and one, what="no error")
            assert sink["lost"] == 0


def test_collector_that_goes_away_loses_nothing(site):
    """Over TCP: what its host had not acknowledged is sent once more to the next one."""
    switch, _, app, _ = site
    numbers = set()
    with UdpServer(app, 53), Collector("tcp") as first:
        export(switch, first, "transport=tcp")
        ask(site, 20000, 20010)
        wait_for(lambda: len(starts(first)) == 10, 30, "the first ten")
        first.close()
        numbers |= starts(first)
        ask(site, 20010, 20030)
        with Collector("tcp", first.port) as second:
            wait_for(lambda: numbers | starts(second) == set(range(20000, 20030)), 60, "all of them")
            assert not first.error and not second.error
    assert switch.json("sink", "show", "flows")["lost"] == 0


def test_what_does_not_fit_the_backlog_is_told_as_a_gap(site):
    switch, _, app, _ = site
    probe = Collector("tcp")
    probe.close()
    export(switch, probe, "transport=tcp", "backlog-bytes=1048576")

    def statistics():
        return switch.json("sink", "show", "flows")

    def lost():
        ask(site, 20000, 20300)
        switch.cordon("conn", "flush", "--all")
        wait_for(lambda: switch.status()["connections"]["count"] == 0, 30, "an empty table")
        return statistics()["lost"]

    with UdpServer(app, 53):
        wait_for(lost, 240, "records that do not fit", interval=0)
    with Collector("tcp", probe.port) as collector:
        wait_for(lambda: statistics()["waiting"] == 0, 120, "all is delivered")
        last = switch.log()[-1]["sequence"]

        def all_is_told():
            """The gaps, when each record up to the log's last has come or is among them."""
            assert not collector.error
            gaps = [one for one in collector.records if one["template"] == GAP]
            numbers = {one["cordonSequence"] for one in collector.flows()}
            told = sum(one["cordonLostRecords"] for one in gaps)
            if not gaps or told != statistics()["lost"]:
                return None
            newest = max(numbers | {gaps[-1]["cordonSequence"]})
            return newest >= last and len(numbers) + told == newest - min(numbers) + 1 and gaps

        gaps = wait_for(all_is_told, 30, "an account of all records")
    assert {(one["cordonKind"], one["cordonReason"]) for one in gaps} == {("gap", "backlog-full")}
    assert gaps[-1]["notSentFlowTotalCount"] == statistics()["lost"] > 0
