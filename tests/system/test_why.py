# SPDX-License-Identifier: Apache-2.0
"""Why one may talk to another, or may not: the answer of `cordon why` beside what hosts on the wire can do.

    web .1   app .3   db .4   stray .6   twin-a .7, twin-b .8   outside .9 (uplink)
      |        |        |       |            |                     |
    --+--------+--------+-------+------------+---------------------+--  network lan, VLAN 10

    web -> app       tcp/80 allowed behind a `pass`; a simulated rule would refuse it; an expired one is not in force
    app -> db        tcp/5432 rejected
    web -> db        a hundred odd ports, and else no rule: the default of the pair, deny
    web -> outside   allowed, zone by prefix; the other way round denied; a simulated rule would refuse tcp/23
    stray            its tag fits no zone: quarantine
    twins            two ports of one VM, "twin"
"""

import contextlib
import json
import subprocess

import pytest

from host import TcpServer

POLICY = f"""\
zones:
  web: {{match: "zone=web"}}
  app: {{match: "zone=app"}}
  db: {{match: "zone=db"}}
  internet: {{cidrs: [0.0.0.0/0, "::/0"]}}
services:
  http: tcp/80
  postgres: tcp/5432
  odd: [{", ".join(f"tcp/{port}" for port in range(1001, 1201, 2))}]
policies:
  - id: guard
    tier: environment
    rules:
      - {{id: to-app, from: web, to: app, action: pass}}
      - {{id: freeze, from: web, to: app, action: deny, expires: 2026-01-01}}
  - id: trial
    tier: emergency
    mode: simulate
    rules:
      - {{id: no-http, from: web, to: app, service: http, action: deny}}
      - {{id: no-telnet, from: web, to: internet, service: tcp/23, action: deny}}
  - id: shop
    rules:
      - {{id: web-to-app, from: web, to: app, service: http, action: allow, log: session, label: CHG-1}}
      - {{id: app-to-db, from: app, to: db, service: postgres, action: reject}}
      - {{id: web-odd, from: web, to: db, service: odd, action: allow}}
      - {{id: web-out, from: web, to: internet, action: allow, log: session}}
baseline: {{between_zones: deny, within_zone: allow, log: denied}}
"""


class Site:
    pass


@pytest.fixture(scope="module")
def site(shared):
    one = Site()
    one.switch = shared
    shared.add_network()
    shared.policy(POLICY)
    for name, number, zone in [("web", 1, "web"), ("app", 3, "app"), ("db", 4, "db"), ("stray", 6, "nowhere")]:
        setattr(one, name, shared.host(name, number, zone=zone))
    for name, number in (("twin-a", 7), ("twin-b", 8)):
        shared.host(name, number, zone="web", port_options={"vm_name": "twin", "vm_id": "id-twin"})
    one.outside = shared.uplink("outside", 9)
    with contextlib.ExitStack() as servers:
        for name in ("web", "app", "db", "outside"):
            for port in (80, 5432):
                servers.enter_context(TcpServer(getattr(one, name), port))
        yield one


def why(site, *words):
    return json.loads(site.switch.cordon("why", *words, "--json"))


def only(answer):
    verdict, = answer["verdicts"]
    return verdict


def steps(verdict):
    question, = verdict["questions"]
    return [(step["tier"], step["rule"], step["action"]) for step in question["steps"]]


# --- What is said, and what is so ----------------------------------------------------------------------------------


@pytest.mark.parametrize("source, destination, port, verdict, rule", [
    ("web", "app", 80, "allowed", "shop/web-to-app"),
    ("web", "app", 5432, "denied", "baseline/web->app"),
    ("app", "db", 5432, "rejected", "shop/app-to-db"),
    ("web", "db", 80, "denied", "baseline/web->db"),
    ("web", "outside", 80, "allowed", "shop/web-out"),
    ("outside", "web", 80, "denied", "baseline/internet->web"),
    ("stray", "app", 80, "denied", ""),
], ids=lambda value: str(value))
def test_the_answer_is_what_happens(site, version, source, destination, port, verdict, rule):
    one, other = getattr(site, source), getattr(site, destination)
    words = [end.address(version) for end in (one, other)]
    said = only(why(site, *words, f"tcp/{port}"))
    assert (said["verdict"], said["rule"]) == (verdict, rule)
    if verdict == "rejected":
        with pytest.raises(ConnectionRefusedError):
            one.connect(other.address(version), port)
    else:
        is_allowed = verdict == "allowed"
        assert one.can_connect(other.address(version), port, 10 if is_allowed else 0.5) == is_allowed


def test_each_step_is_told(site):
    verdict = only(why(site, "web", "app", "http"))
    assert steps(verdict) == [("environment", "guard/to-app", "pass"), ("application", "shop/web-to-app", "allow")]
    last = verdict["questions"][0]["steps"][-1]
    assert (last["log"], last["label"]) == ("session", "CHG-1")


def test_what_expired_is_told_apart(site):
    question, = only(why(site, "web", "app", "http"))["questions"]
    assert question["not_in_force"] == [{"rule": "guard/freeze", "why": "it has expired"}]
    assert only(why(site, "web", "db", "http"))["questions"][0]["not_in_force"] == []


def test_what_is_simulated_is_told_beside(site):
    verdict = only(why(site, "web", "app", "http"))
    simulated = verdict["simulated"]
    assert (verdict["verdict"], simulated["verdict"], simulated["rule"]) == ("allowed", "denied", "trial/no-http")
    same = only(why(site, "web", "db", "http"))
    assert same["simulated"]["rule"] == same["rule"]
    text = site.switch.cordon("why", "web", "app", "http")
    assert "simulated  denied by trial/no-http" in text
    assert "not in force, guard/freeze: it has expired" in text


def test_reasons_for_a_zone(site, version):
    web, outside, stray = site.web, site.outside, site.stray
    answer = why(site, "web", outside.address(version), "http")
    assert answer["source"]["zone"] == "web" and answer["source"]["why"] == "its tags fit zone=web"
    assert answer["source"]["address"] == web.address(version), "one of the other's family"
    assert answer["destination"]["zone"] == "internet"
    prefix = "0.0.0.0/0" if version == 4 else "::/0"
    assert answer["destination"]["why"] == f"nobody owns the address, and it lies in {prefix}"
    lost = why(site, stray.address(version), "app", "http")
    assert lost["source"]["zone"] == "quarantine" and lost["source"]["why"] == "its tags fit no zone"
    assert only(lost)["quarantine"]


def test_the_other_direction_is_told(site):
    answer = why(site, "web", "app", "http")
    assert [(row["verdict"], row["rule"]) for row in answer["reverse"]] == [("denied", "baseline/app->web")]


def test_many_ports_are_told_by_what_is_decided_alike(site):
    spans = [(row["service"], row["verdict"]) for row in why(site, "web", "app", "tcp")["verdicts"]]
    assert spans == [("tcp/0-79", "denied"), ("tcp/80", "allowed"), ("tcp/81-65535", "denied")]
    assert [row["service"] for row in why(site, "app", site.outside.ipv4, "any")["verdicts"]] == ["any"]


def test_what_is_simulated_of_some_ports_only(site):
    """All of them are decided by one rule, but not with what is simulated."""
    answer = why(site, "web", site.outside.ipv4, "tcp")
    assert [(row["service"], row["rule"], row["simulated"]["rule"]) for row in answer["verdicts"]] == [
        ("tcp/0-22", "shop/web-out", "shop/web-out"), ("tcp/23", "shop/web-out", "trial/no-telnet"),
        ("tcp/24-65535", "shop/web-out", "shop/web-out")]


def test_more_than_can_be_told_is_said(site):
    answer = why(site, "web", "db", "tcp")
    assert len(answer["verdicts"]) == 64 and answer["left_out"] > 60000
    text = site.switch.cordon("why", "web", "db", "tcp")
    assert "and 56 more spans of services; --json has them" in text
    assert f"and {answer['left_out']} more services, of which there are too many" in text
    assert why(site, "web", "db", "http")["left_out"] == 0


# --- What is and was -----------------------------------------------------------------------------------------------


def test_live_connections_and_last_records(site, version):
    web, app = site.web, site.app
    connection = web.connect(app.address(version), 80)
    port = connection.getsockname()[1]
    site.switch.wait_log(kind="start", source_address=web.address(version), source_transport_port=port)
    answer = why(site, web.address(version), app.address(version), "http")
    assert port in [row["source_port"] for row in answer["connections"]["rows"]]
    records = answer["records"]["rows"]
    assert records[-1]["source_transport_port"] == port and len(records) <= 5
    assert all(row["source_address"] == web.address(version) for row in records)
    other = why(site, web.address(version), app.address(version), "postgres")
    assert port not in [row["source_port"] for row in other["connections"]["rows"]]
    connection.close()


def test_without_the_switch_it_works_from_the_database(new_switch):
    idle = new_switch("noswitch")
    idle.add_network()
    idle.policy(POLICY)
    for name, number in (("web", 1), ("app", 3)):
        idle.host(name, number, zone=name)
    idle.kill()
    answer = json.loads(idle.cordon("why", "web", "app", "http", "--json"))
    assert only(answer)["verdict"] == "allowed"
    assert "does not run" in answer["connections"]["error"]
    assert "Not known: the switch does not run" in idle.cordon("why", "web", "app", "http")


def test_before_the_first_policy_everything_is_in_quarantine(new_switch):
    empty = new_switch("empty")
    answer = json.loads(empty.cordon("why", "10.0.0.1", "10.0.0.2", "tcp/80", "--json"))
    assert answer["revision"] == 0 and answer["source"]["zone"] == "quarantine"
    text = empty.cordon("why", "10.0.0.1", "10.0.0.2", "tcp/80")
    assert "allowed without being asked for; there is no policy yet" in text
    assert "neither end is a vNIC" in text


def test_an_address_that_two_claim(new_switch):
    """`cordon port` refuses that; another program that writes to the database may not."""
    switch = new_switch("claimed")
    switch.add_network()
    switch.policy(POLICY)
    one, _ = switch.host("web", 1), switch.host("app", 3)
    update = {"op": "update", "table": "Port", "where": [["name", "==", "app"]], "row": {"addresses": one.ipv4}}
    subprocess.run(["ovsdb-client", "transact", f"unix:{switch.run}/db.sock", json.dumps(["Cordon", update])],
                   check=True, capture_output=True)
    refused = switch.try_cordon("why", one.ipv4, "8.8.8.8", "tcp/80")
    assert refused.returncode == 2 and "is claimed by app and web" in refused.stderr
    answer = json.loads(switch.cordon("why", "app", "web", "tcp/80", "--json"))
    assert answer["source"]["claimed_by"] == "app and web"
    assert only(answer)["quarantine"]


# --- What makes no sense -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, status, message", [
    (["wbe", "app", "http"], 3, "no port, VM or address is called 'wbe'; did you mean 'web'?"),
    (["web", "app", "htp"], 3, "no service is named 'htp'; did you mean 'http'?"),
    (["web", "app", "tcp/99999"], 2, "expected a port from 0 to 65535"),
    (["twin", "app", "http"], 2, "'twin' is more than one port"),
    (["outside", "app", "http"], 2, "is an uplink"),
    (["web", "10.0.0.1", "http"], 2, "are the same endpoint"),
    (["web", "app"], 2, "SERVICE"),
], ids=["source", "service", "port", "two-ports", "uplink", "same", "missing"])
def test_what_makes_no_sense_is_refused_by_name(site, words, status, message):
    result = site.switch.try_cordon("why", *words)
    assert (result.returncode, message in result.stderr) == (status, True), result.stderr


def test_two_ports_of_one_vm_are_told_apart_by_port(site):
    message = site.switch.try_cordon("why", "twin", "app", "http").stderr
    assert "/twin-a" in message and "/twin-b" in message
    assert only(why(site, "twin-a", "app", "http"))["verdict"] == "allowed"
