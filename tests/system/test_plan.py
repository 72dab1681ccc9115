# SPDX-License-Identifier: Apache-2.0
"""What a policy would change, told before it is applied: in words, and by the traffic that there was and is.

    web .1   app .3   db .4   stray .6   outside .9 (uplink)
      |        |        |       |          |
    --+--------+--------+-------+----------+--  network lan, VLAN 10

    web -> app        tcp/80 allowed and logged, udp/53 allowed and not logged
    web -> db         no rule: the default of the pair, deny
    web -> outside    allowed and logged, zone by prefix
    stray             its tag fits no zone: quarantine
"""

import contextlib
import json
import os
import subprocess
import time

import pytest

import cordon
from cordon import wait_for
from database import delete_revision, insert_revision
from host import TcpServer, UdpServer

POLICY = """\
zones:
  web: {match: "zone=web"}
  app: {match: "zone=app"}
  db: {match: "zone=db"}
  internet: {cidrs: [0.0.0.0/0, "::/0"]}
services:
  http: tcp/80
policies:
  - id: shop
    rules:
      - {id: web-to-app, from: web, to: app, service: http, action: allow, log: session}
      - {id: web-dns, from: web, to: app, service: udp/53, action: allow}
      - {id: web-out, from: web, to: internet, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

CLOSED = POLICY.replace("service: http, action: allow, log: session", "service: http, action: reject, log: session")
OPEN = POLICY.replace("      - {id: web-out", "      - {id: web-to-db, from: web, to: db, service: tcp/5432, "
                      "action: allow}\n      - {id: web-out")


class Site:
    pass


@pytest.fixture(scope="module")
def site(shared):
    one = Site()
    one.switch = shared
    shared.add_network()
    shared.policy(POLICY, why="the first one")
    for name, number, zone in [("web", 1, "web"), ("app", 3, "app"), ("db", 4, "db"), ("stray", 6, "nowhere")]:
        setattr(one, name, shared.host(name, number, zone=zone))
    one.outside = shared.uplink("outside", 9)
    with contextlib.ExitStack() as servers:
        for name in ("app", "db", "outside"):
            for port in (80, 5432):
                servers.enter_context(TcpServer(getattr(one, name), port))
            servers.enter_context(UdpServer(getattr(one, name), 53))
        yield one


@pytest.fixture(autouse=True)
def fresh(site):
    """Each story begins with the first policy, and without connections."""
    if site.switch.cordon("policy", "show") != POLICY:
        site.switch.policy(POLICY)
    site.switch.cordon("conn", "flush", "--all")
    wait_for(lambda: not site.switch.connections(), 20, "the end of all connections")


def plan(switch, document, *options):
    return json.loads(switch.cordon("policy", "plan", "-", *options, "--json", text=document))


def rows(impact, kind, **fields):
    """The groups of one kind that have these members."""
    return [row for row in impact["rows"] if row["kind"] == kind
            and all(row[name] == value for name, value in fields.items())]


def example(row, **fields):
    return next(one for one in row["examples"] if all(one[name] == value for name, value in fields.items()))


# --- Stored traffic ------------------------------------------------------------------------------------------------


def test_stored_connections_that_would_be_refused(site, version):
    switch, web, app = site.switch, site.web, site.app
    before = rows(plan(switch, CLOSED)["stored"], "denied", service="tcp/80")
    known = sum(one["connections"] for row in before for one in row["examples"]
                if one["source"] == web.address(version))
    starts = len(switch.log(kind="start", source_address=web.address(version)))
    for _ in range(3):
        assert web.can_connect(app.address(version), 80)
    switch.wait_log(starts + 3, kind="start", source_address=web.address(version))
    stored = plan(switch, CLOSED)["stored"]
    row, = rows(stored, "denied", service="tcp/80")
    assert row["rule_before"] == "shop/web-to-app" and row["rule_after"] == "shop/web-to-app"
    assert row["action_after"] == "reject"
    assert (row["source_zone"], row["destination_zone"]) == ("web", "app")
    one = example(row, source=web.address(version), destination=app.address(version))
    assert (one["source_name"], one["destination_name"]) == ("web", "app")
    assert one["connections"] == known + 3
    assert abs(one["last_ns"] / 1e9 - time.time()) < 30
    assert stored["denied"] == sum(row["connections"] for row in rows(stored, "denied"))
    assert not rows(stored, "allowed")


def test_stored_refusals_that_would_be_allowed(site, version):
    switch, web, db = site.switch, site.web, site.db
    denied = len(switch.log(kind="denied", source_address=web.address(version)))
    assert not web.can_connect(db.address(version), 5432, 0.3)
    switch.wait_log(denied + 1, kind="denied", source_address=web.address(version))
    stored = plan(switch, OPEN)["stored"]
    row, = rows(stored, "allowed", service="tcp/5432")
    assert row["rule_before"] == "baseline/web->db" and row["rule_after"] == "shop/web-to-db"
    assert example(row, source=web.address(version))["destination"] == db.address(version)
    assert not rows(stored, "denied")


def test_traffic_with_the_outside_is_judged_by_prefix(site, version):
    switch, web, outside = site.switch, site.web, site.outside
    starts = len(switch.log(kind="start", destination_address=outside.address(version)))
    assert web.can_connect(outside.address(version), 80)
    switch.wait_log(starts + 1, kind="start", destination_address=outside.address(version))
    partner = POLICY.replace("services:", f"  partner: {{cidrs: [\"{outside.address(version)}\"]}}\nservices:")
    row, = [row for row in rows(plan(switch, partner)["stored"], "denied") if row["destination_zone"] == "partner"]
    assert row["rule_before"] == "shop/web-out" and row["rule_after"] == "baseline/web->partner"
    assert example(row, destination=outside.address(version))["destination_name"] == ""


def test_same_policy_changes_nothing(site):
    answer = plan(site.switch, POLICY)
    assert answer["changes"] == []
    for part in ("stored", "live"):
        assert answer[part]["rows"] == []
    assert answer["stored"]["error"] == "" and answer["live"]["error"] == ""
    text = site.switch.cordon("policy", "plan", "-", text=POLICY)
    assert "None: the file says what is wanted already." in text


def test_what_the_log_level_leaves_out_is_said(site):
    stored = plan(site.switch, CLOSED)["stored"]
    assert stored["unlogged_connections"] == ["shop/web-dns", "baseline"]
    assert stored["unlogged_refusals"] == []
    assert "shop/web-dns" in site.switch.cordon("policy", "plan", "-", text=CLOSED)


def test_without_days_the_log_is_not_read(site):
    assert "stored" not in plan(site.switch, CLOSED, "--days", "0")


def test_a_log_that_is_missing_or_damaged_is_said(site, tmp_path):
    missing = plan(site.switch, CLOSED, "--directory", tmp_path / "nothing")["stored"]
    assert "there is no log in" in missing["error"] and missing["records"] == 0
    (tmp_path / "traffic-20261001T120000Z.db").write_bytes(b"This is not a database. " * 100)
    damaged = plan(site.switch, CLOSED, "--directory", tmp_path, "--days", "3650")["stored"]
    assert "traffic-20261001T120000Z.db" in damaged["error"]
    text = site.switch.cordon("policy", "plan", "-", "--directory", tmp_path, "--days", "3650", text=CLOSED)
    assert "could not be read" in text


# --- Live connections ----------------------------------------------------------------------------------------------


def test_live_connections_that_would_be_refused(site, version):
    switch, web, app = site.switch, site.web, site.app
    connection = web.connect(app.address(version), 80)
    assert web.can_ask(app.address(version), 53), "allowed by both"
    live = plan(switch, CLOSED)["live"]
    assert live["error"] == "" and live["judged"] >= 2
    row, = rows(live, "denied")
    assert row["service"] == "tcp/80" and row["connections"] == 1 and live["denied"] == 1
    one = example(row, source=web.address(version), source_name="web")
    assert (one["destination"], one["destination_name"]) == (app.address(version), "app")
    connection.sendall(b"still here")
    assert connection.recv(100) == b"still here", "a plan changes nothing"
    connection.close()


def test_live_connections_that_are_not_logged_are_seen(site, version):
    switch, web, app = site.switch, site.web, site.app
    assert web.can_ask(app.address(version), 53)
    without = POLICY.replace("      - {id: web-dns, from: web, to: app, service: udp/53, action: allow}\n", "")
    answer = plan(switch, without)
    row, = rows(answer["live"], "denied")
    assert (row["service"], row["rule_before"], row["rule_after"]) == ("udp/53", "shop/web-dns", "baseline/web->app")
    assert not rows(answer["stored"], "denied", service="udp/53"), "of these the log has nothing"


def test_plans_at_the_same_time_wait_for_their_turn(site):
    command = [cordon.CORDON, "policy", "plan", "-", "--days", "0", "--json"]
    plans = [subprocess.Popen(command, env=site.switch.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True) for _ in range(6)]
    for one in plans:
        one.stdin.write(CLOSED)
        one.stdin.close()
    for one in plans:
        assert json.loads(one.stdout.read())["live"]["error"] == ""
        assert one.wait(60) == 0
        one.stdout.close()


def test_no_document_is_left_in_the_run_directory(site):
    plan(site.switch, CLOSED)
    assert not [name for name in os.listdir(site.switch.run) if name.startswith("plan-")]


def test_only_documents_of_a_plan_are_opened(site):
    switch = site.switch
    for name in ("../state/cordon.db", "cordon-switchd.lock", "plan-x/../cordon-switchd.lock"):
        answer = subprocess.run(["ovs-appctl", "-t", f"{switch.run}/cordon-switchd.{switch.pid()}.ctl",
                                 "cordon/policy-evaluate", name, name], capture_output=True, text=True, check=False)
        assert answer.returncode != 0 and "must be files plan-*" in answer.stderr
    os.symlink(os.path.join(switch.state, "cordon.db"), os.path.join(switch.run, "plan-link"))
    answer = subprocess.run(["ovs-appctl", "-t", f"{switch.run}/cordon-switchd.{switch.pid()}.ctl",
                             "cordon/policy-evaluate", "plan-link", "plan-link"],
                            capture_output=True, text=True, check=False)
    os.unlink(os.path.join(switch.run, "plan-link"))
    assert answer.returncode != 0 and "plan-link" in answer.stderr


def test_without_the_switch_the_rest_is_told(new_switch):
    idle = new_switch("noswitch")
    idle.policy(POLICY)
    idle.kill()
    answer = plan(idle, CLOSED)
    assert "does not run" in answer["live"]["error"]
    assert [change["title"] for change in answer["changes"]] == ["rule shop/web-to-app"]
    assert "does not run" in answer["rules"]["never_hit_error"]
    assert "Not judged: the switch does not run" in idle.cordon("policy", "plan", "-", text=CLOSED)


# --- Endpoints and rules -------------------------------------------------------------------------------------------


def test_endpoints_that_change_zone_or_fit_none_or_two(site):
    document = POLICY.replace('web: {match: "zone=web"}', 'front: {match: "zone=web"}').replace(
        "from: web", "from: front").replace('db: {match: "zone=db"}',
                                            'db: {match: "zone=db"}\n  data: {match: "zone in (db, data)"}')
    endpoints = {row["name"]: row for row in plan(site.switch, document)["endpoints"]["rows"]}
    assert (endpoints["web"]["before"], endpoints["web"]["after"]) == ("web", "front")
    assert endpoints["stray"]["why"] == "its tags fit no zone"
    assert (endpoints["db"]["before"], endpoints["db"]["after"]) == ("db", "quarantine")
    assert endpoints["db"]["why"] == "its tags fit db and data"
    assert "app" not in endpoints
    text = site.switch.cordon("policy", "plan", "-", text=document)
    assert "db: db -> quarantine (its tags fit db and data)" in text
    assert "stray: stays in quarantine" in text


def test_rules_that_can_never_match(site):
    document = POLICY.replace("      - {id: web-out", "      - {id: all-http, from: [web, db], to: app, "
                              "action: deny}\n      - {id: late, from: web, to: app, service: tcp/81, "
                              "action: allow}\n      - {id: web-out")
    unreachable = plan(site.switch, document)["rules"]["unreachable"]
    assert unreachable == [{"rule": "shop/late", "by": "shop/all-http"}]
    assert "shop/late can never match" in site.switch.cordon("policy", "plan", "-", text=document)


def test_rules_that_were_never_hit(new_switch):
    switch = new_switch("neverhit")
    switch.add_network()
    switch.policy(POLICY)
    web, app = switch.host("web", 1), switch.host("app", 3)
    with TcpServer(app, 80):
        assert web.can_connect(app.ipv4, 80)
    def never_hit():
        return [row["rule"] for row in plan(switch, CLOSED)["rules"]["never_hit"]]
    wait_for(lambda: "shop/web-to-app" not in never_hit(), 20, "the rule's hit")
    assert never_hit() == ["shop/web-dns", "shop/web-out"]
    without = POLICY.replace("      - {id: web-dns, from: web, to: app, service: udp/53, action: allow}\n", "")
    assert [row["rule"] for row in plan(switch, without)["rules"]["never_hit"]] == ["shop/web-out"]
    assert "shop/web-dns was never hit, since 20" in switch.cordon("policy", "plan", "-", text=CLOSED)


# --- Simulation and terms ------------------------------------------------------------------------------------------

TRIAL = """\
  - id: trial
    tier: emergency
    mode: {mode}
    rules:
      - {{id: no-http, from: web, to: app, service: http, action: reject{terms}}}
"""


def with_trial(mode, terms=""):
    return POLICY.replace("policies:\n", "policies:\n" + TRIAL.format(mode=mode, terms=terms))


def test_what_a_simulated_rule_would_do_is_told_apart(site, version):
    switch, web, app = site.switch, site.web, site.app
    connection = web.connect(app.address(version), 80)
    answer = plan(switch, with_trial("simulate"))
    for part in ("stored", "live"):
        assert answer[part]["denied"] == 0 and answer[part]["would-deny"] > 0
        row, = rows(answer[part], "would-deny")
        assert (row["rule_before"], row["rule_after"]) == ("shop/web-to-app", "trial/no-http")
    assert rows(plan(switch, with_trial("enforce"))["live"], "denied")[0]["rule_after"] == "trial/no-http"
    assert "Would be denied, if what it simulates were enforced" in switch.cordon(
        "policy", "plan", "-", text=with_trial("simulate"))
    switch.policy(with_trial("simulate"))
    now = plan(switch, POLICY)["live"]
    assert now["now-would-deny"] == 1 and now["denied"] == now["would-deny"] == 0
    connection.close()


def test_a_rule_that_has_expired_or_is_off_changes_nothing(site, version):
    connection = site.web.connect(site.app.address(version), 80)
    for document in (with_trial("enforce", ", expires: 2026-01-01"), with_trial("'off'")):
        answer = plan(site.switch, document)
        assert answer["live"]["denied"] == answer["stored"]["denied"] == 0
        assert [change["title"] for change in answer["changes"]] == ["policy trial", "rule trial/no-http"]
    connection.close()


def test_all_go_to_quarantine(site, version):
    switch, web, app = site.switch, site.web, site.app
    connection = web.connect(app.address(version), 80)
    live = plan(switch, "zones: {nobody: {match: nothing}}\n")["live"]
    row, = rows(live, "denied", service="tcp/80")
    assert row["rule_after"] == "quarantine" and row["source_zone"] == "quarantine"
    connection.close()


# --- Words ---------------------------------------------------------------------------------------------------------


def test_changes_in_words(site):
    changes = plan(site.switch, CLOSED)["changes"]
    assert [(change["title"], change["words"]) for change in changes] == [
        ("rule shop/web-to-app", "action: allow -> reject")]


def test_diff_of_revisions_says_the_same(site):
    switch = site.switch
    switch.policy(CLOSED, why="close the shop")
    newest = max(row["revision"] for row in switch.json("policy", "history"))
    answer = switch.json("policy", "diff", newest - 1)
    assert (answer["before"], answer["after"]) == (newest - 1, newest)
    assert [change["words"] for change in answer["changes"]] == ["action: allow -> reject"]
    back = switch.json("policy", "diff", newest, newest - 1)
    assert [change["words"] for change in back["changes"]] == ["action: reject -> allow"]
    text = switch.cordon("policy", "diff", newest - 1, newest)
    assert "close the shop" in text and "rule shop/web-to-app  action: allow -> reject" in text
    assert "No change" in switch.cordon("policy", "diff", newest, newest)
    first = switch.json("policy", "diff", 0, 1)
    assert {change["change"] for change in first["changes"] if change["part"] == "zone"} == {"added"}
    assert "From no policy" in switch.cordon("policy", "diff", "0", 1)


@pytest.mark.parametrize("words, status, message", [
    (["policy", "diff", "99999"], 3, "there is no revision 99999"),
    (["policy", "diff", "x"], 2, "'x' is no revision"),
    (["policy", "plan", "/nonexistent"], 3, "/nonexistent"),
    (["policy", "plan", "-", "--days", "-1"], 2, "--days"),
], ids=["no-revision", "no-number", "no-file", "bad-days"])
def test_what_makes_no_sense_is_refused_by_name(site, words, status, message):
    result = site.switch.try_cordon(*words, text="")
    assert result.returncode == status
    assert message in result.stderr


def test_a_document_with_errors_is_refused_as_by_check(site):
    result = site.switch.try_cordon("policy", "plan", "-", text=POLICY.replace("from: web,", "from: wbe,"))
    assert result.returncode == 6
    assert "did you mean 'web'?" in result.stderr


def test_a_revision_that_is_gone_or_invalid_is_named(new_switch):
    switch = new_switch("gone")
    switch.policy(POLICY)
    insert_revision(switch, 2, "zones: [")
    result = switch.try_cordon("policy", "plan", "-", text=POLICY)
    assert result.returncode == 6 and "revision 2 is not valid" in result.stderr
    delete_revision(switch, 2)
    result = switch.try_cordon("policy", "plan", "-", text=POLICY)
    assert result.returncode == 1 and "revision 2 is the one wanted, but is not in the database" in result.stderr
    assert switch.try_cordon("why", "10.0.0.1", "10.0.0.2", "tcp/1").returncode == 1
    assert switch.try_cordon("policy", "diff", "1").returncode == 1
