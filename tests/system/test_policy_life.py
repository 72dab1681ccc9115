# SPDX-License-Identifier: Apache-2.0
"""The life of a policy: applied, confirmed or gone back from, rolled back, expiring.

    web .1        app .2
      |             |
    --+-------------+--  network lan, VLAN 10
"""

import math
import os
import random
import re
import signal
import subprocess
import threading
import time

import pytest

from cordon import CORDON, CommandFailed, Switch, wait_for
from database import root, update_root
from host import TcpServer
from stream import STEADY, Stream, sleep_until

# What a change may be late; packets come every 5 ms.
LATE_S = 0.5

POLICY = """\
zones:
  web: {{match: "zone=web"}}
  app: {{match: "zone=app"}}
policies:
  - id: shop
    rules:
      - {{id: web-to-app, from: web, to: app, service: [tcp/80, STEADY], action: allow, log: session}}
{more}
baseline: {{between_zones: deny, within_zone: allow, log: denied}}
""".replace("STEADY", STEADY)
OLD = POLICY.format(more="")
NEW = POLICY.format(more="      - {id: more, from: web, to: app, service: [tcp/81, udp/8000], action: allow}")
CLOSED = POLICY.format(more="").replace("action: allow", "action: deny")


@pytest.fixture
def site(switch):
    switch.add_network()
    switch.policy(OLD)
    web, app = switch.host("web", 1), switch.host("app", 2)
    web.knows(app)
    app.knows(web)
    with TcpServer(app, 80), TcpServer(app, 81):
        yield switch, web, app


def apply(switch, document, *options, why="test"):
    """What `cordon policy apply` answers."""
    path = os.path.join(switch.directory, "new.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(document)
    return switch.json("policy", "apply", path, "-m", why, *options)


def apply_until(switch, document, seconds):
    """Applies it to be confirmed within so many seconds; returns when it will go back, since 1970."""
    return apply(switch, document, "--confirm", f"{seconds}s")["pending"]["confirm_by_ns"] / 1e9


def history(switch):
    return {row["revision"]: row for row in switch.json("policy", "history")}


def in_force(switch):
    return switch.status()["policy_revision"]


def punctual(story):
    """Has a story told, which returns by how many seconds something was late, until it was on time.  A machine that stood
    still for a moment makes it late once; what is late every time is late by itself."""
    late = []
    while not late or late[-1] > LATE_S:
        assert len(late) < 4, f"always late: by {late} s"
        late.append(story())


def answers(connection, seconds=10.0, text=b"hello"):
    connection.settimeout(seconds)
    try:
        connection.sendall(text)
        return connection.recv(100) == text
    except TimeoutError:
        return False


# --- Confirmed commit ----------------------------------------------------------------------------------------------


def test_confirmed_in_time(site):
    switch, web, app = site
    with Stream(web, app, 8000) as stream:
        until = apply_until(switch, NEW, 8)
        wait_for(stream.flows, 20, "the stream")
        waiting = history(switch)[2]
        assert waiting["outcome"] == "waiting" and waiting["wanted"]
        assert waiting["pending"]["returns_to"] == 1
        assert "waits for confirmation" in switch.cordon("status")
        assert "Revision 2" in switch.cordon("policy", "confirm")
        sleep_until(until + 0.5)
        wait_for(lambda: stream.switched(until + 0.4)[0], 20, "what passes then")
        assert stream.switched(until - 0.5)[1] == 0, "nothing happens when the time is over"
    assert in_force(switch) == 2
    row = history(switch)[2]
    assert (row["outcome"], row["outcome_author"]) == ("confirmed", row["author"])
    assert "waits" not in switch.cordon("status")
    result = switch.try_cordon("policy", "confirm")
    assert result.returncode == 5 and "no revision waits" in result.stderr


def test_not_confirmed_goes_back_to_the_second(site, version):
    switch, web, app = site
    old = web.connect(app.address(version), 80)
    assert answers(old)
    with Stream(web, app, 8000, version) as stream:
        def story():
            until = apply_until(switch, NEW, 5)
            new = web.connect(app.address(version), 81)
            assert answers(new) and answers(old)
            late = stream.ends_at(until)
            assert not answers(new, 0.5), "what only the new one allowed is cut"
            new.close()
            wait_for(lambda: history(switch)[1]["wanted"], what="the return in the database")
            return late

        punctual(story)
    assert answers(old), "what both allow goes on"
    assert in_force(switch) == 1
    old.close()
    rows = history(switch)
    newest = max(rows)
    row = rows[newest]
    assert row["outcome"] == "returned" and switch_name(switch) in row["outcome_author"]
    assert "returned: not confirmed in time" in switch.cordon("policy", "history")
    assert "was not confirmed in time" in switch.cordon("status")
    assert root(switch)["policy_confirm_by"] == 0
    wait_for(lambda: root(switch)["policy_reached"] == 1, 20, "the acknowledgement, of a lower number")
    result = switch.try_cordon("policy", "confirm")
    assert result.returncode == 5 and "too late" in result.stderr
    assert apply(switch, OLD)["revision"] == newest + 1, "numbers are not used again"


def switch_name(switch):
    return switch.status()["host"]


def test_goes_back_without_a_database(site):
    """The point of it: the new policy, or whatever else, has cut everybody off from the host."""
    switch, web, app = site
    with Stream(web, app, 8000) as stream:
        until = apply_until(switch, NEW, 6)
        switch.kill("ovsdb-server")
        wait_for(stream.flows, 20, "the stream")
        assert any("goes back to 1" in text for text in wait_for(lambda: switch.status()["warnings"], 20, "a warning"))
        stream.ends_at(until)
    assert in_force(switch) == 1
    assert any("gone back to 1" in text for text in switch.status()["warnings"])
    switch.up()
    wait_for(lambda: history(switch)[2].get("outcome") == "returned" and root(switch)["policy_wanted"] == 1, 20,
             "the return written down")
    assert root(switch)["policy_confirm_by"] == 0


def test_restart_remembers_the_time(site):
    switch, web, app = site
    with Stream(web, app, 8000) as stream:
        until = apply_until(switch, NEW, 10)
        switch.kill()
        switch.up()
        wait_for(stream.flows, 20, "the stream")
        assert in_force(switch) == 2
        stream.ends_at(until)
    assert in_force(switch) == 1


def test_down_while_the_time_runs_out(site):
    switch, web, app = site
    until = apply_until(switch, NEW, 3)
    switch.kill()
    sleep_until(until + 0.2)
    assert history(switch)[2]["outcome"] == "returned", "nobody has written it down, and yet"
    switch.up()
    wait_for(lambda: in_force(switch) == 1, 20, "the confirmed revision in force")
    assert not web.can_connect(app.ipv4, 81, 0.3)
    wait_for(lambda: root(switch)["policy_wanted"] == 1, 20, "the return written down")


def test_down_while_the_time_runs_out_and_another_is_applied(site):
    switch, *_ = site
    until = apply_until(switch, NEW, 3)
    switch.kill()
    sleep_until(until + 0.2)
    assert apply(switch, NEW, "--no-wait")["revision"] == 3, "the one before it is not waited for any more"
    assert history(switch)[2]["outcome"] == "returned"
    switch.up()
    wait_for(lambda: in_force(switch) == 3, 20, "the new one in force")


def test_while_one_waits(site):
    switch, *_ = site
    apply_until(switch, NEW, 60)
    with pytest.raises(CommandFailed) as failure:
        apply(switch, CLOSED)
    assert failure.value.status == 5
    for words in ("revision 2", "\"test\"", "waits for confirmation", "cordon policy confirm", "rollback 1"):
        assert words in failure.value.message
    assert apply(switch, CLOSED, "--confirm", "60s")["pending"]["returns_to"] == 1, "another one that waits may"
    assert history(switch)[2]["outcome"] == "replaced"
    switch.cordon("policy", "rollback", 2, "-m", "back")
    rows = history(switch)
    assert rows[3]["outcome"] == "replaced" and rows[4]["wanted"] and "outcome" not in rows[4]
    assert rows[4]["comment"] == "Rollback to revision 2: back"
    assert switch.cordon("policy", "show", 4) == switch.cordon("policy", "show", 2)
    assert root(switch)["policy_confirm_by"] == 0


def test_words_that_make_no_sense(site):
    switch, *_ = site
    for text in ("5", "0s", "m", "5 m", "-5m", "8d", "99999999999s", "5mm"):
        with pytest.raises(CommandFailed) as failure:
            apply(switch, NEW, f"--confirm={text}")
        assert failure.value.status == 2 and "5m" in failure.value.message
    for words, status in ((("rollback", "0"), 2), (("rollback", "x"), 2), (("rollback", "7"), 3), (("show", "7"), 3),
                          (("rollback", "1"), 5), (("confirm", "1"), 5)):
        assert switch.try_cordon("policy", *words).returncode == status, words
    assert list(history(switch)) == [1]


def test_the_first_one_cannot_wait(new_switch):
    switch = new_switch("first")
    with pytest.raises(CommandFailed) as failure:
        apply(switch, OLD, "--confirm", "1m")
    assert failure.value.status == 6 and "go back to" in failure.value.message


# --- Two people, two hosts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("comment", ["person {}", "deploy"])
def test_two_apply_at_once(site, comment):
    """All that start from the same revision: one of them makes the next one, the others are told of it.  Also where
    nothing but the documents tells who is who: the same author, comment and second."""
    switch, *_ = site
    paths = []
    for person in range(6):
        paths.append(os.path.join(switch.directory, f"{person}.yaml"))
        with open(paths[-1], "w", encoding="utf-8") as file:
            file.write(OLD + f"# by {person}\n")
    results = [None] * len(paths)

    def one(person):
        results[person] = switch.try_cordon("policy", "apply", paths[person], "-m", comment.format(person),
                                             "--expect", 1)

    threads = [threading.Thread(target=one, args=(person,)) for person in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [person for person, result in enumerate(results) if result.returncode == 0]
    assert len(winners) == 1, results
    rows = history(switch)
    assert sorted(rows) == [1, 2]
    assert f"# by {winners[0]}" in switch.cordon("policy", "show", 2)
    for person, result in enumerate(results):
        if person not in winners:
            assert result.returncode == 5
            assert "revision 2 came in between: applied by" in result.stderr
            assert f"\"{comment.format(winners[0])}\"" in result.stderr


def test_another_revision_while_a_long_one_is_read(site):
    """The command reads the database before it reads the file: what comes between is seen."""
    switch, *_ = site
    pipe = os.path.join(switch.directory, "pipe")
    os.mkfifo(pipe)
    slow = subprocess.Popen([CORDON, "policy", "apply", pipe, "-m", "slow"], env=switch.environment(),
                            stderr=subprocess.PIPE, text=True)
    with open(pipe, "w", encoding="utf-8") as file:
        file.write(NEW)
        file.flush()
        apply(switch, OLD, why="quick one")
    _, message = slow.communicate(timeout=60)
    assert slow.returncode == 5
    assert "revision 2 came in between" in message and "\"quick one\"" in message
    assert "cordon policy diff 1 2" in message


def test_two_hosts_go_back_together(site, new_switch):
    """Both by themselves; one of them writes it down; a third host, whose switch is away, is named."""
    switch, *_ = site
    other = new_switch("beta", up=False, up_options=["--no-huge", "--workers", "1", "--db",
                                                     f"unix:{switch.run}/db.sock", "--host", "beta"])
    other.up()
    wait_for(lambda: in_force(other) == 1, 20, "the policy on the second host")
    until = apply_until(switch, NEW, 5)
    assert (in_force(switch), in_force(other)) == (2, 2)
    sleep_until(until)
    wait_for(lambda: (in_force(switch), in_force(other)) == (1, 1), what="the return on both")
    wait_for(lambda: root(switch)["policy_wanted"] == 1 and root(switch)["policy_reached"] == 1, 20, "the return")
    assert history(switch)[2]["outcome"] == "returned"
    other.kill()
    result = switch.try_cordon("policy", "apply", os.path.join(switch.directory, "new.yaml"), "-m", "x",
                               "--timeout", 5)
    assert result.returncode == 7
    assert "beta (at 1)" in result.stderr and switch_name(switch) + " (at" not in result.stderr
    other.up()
    wait_for(lambda: in_force(other) == 3, 20, "the second host's")
    wait_for(lambda: root(switch)["policy_reached"] == 3, 20, "the fleet's acknowledgement")


# --- Rules that last for a time ---------------------------------------------------------------------------------------


def stamp(moment):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def clock(moment):
    return time.strftime("%H:%M:%S", time.gmtime(moment))


def timed(words):
    return POLICY.format(more="      - {id: more, from: web, to: app, service: udp/8000, action: allow, " + words + "}")


def test_expires_to_the_second(site, version):
    switch, web, app = site
    def story():
        end = int(time.time()) + 5
        with Stream(web, app, 8000, version) as stream:
            revision = apply(switch, timed(f"expires: \"{stamp(end)}\""))["revision"]
            wait_for(stream.flows, what="the stream")
            assert switch.status()["policy_changes_ns"] == end * 10**9
            late = stream.ends_at(end)
        assert "policy_changes_ns" not in switch.status()
        assert in_force(switch) == max(history(switch)) == revision, "the revision stays the same"
        return late

    punctual(story)


def test_schedule_to_the_second(site):
    switch, web, app = site

    def story():
        begin = int(time.time()) + 4
        end = begin + 3
        with Stream(web, app, 8000) as stream:
            apply(switch, timed(f"schedule: {{from: \"{clock(begin)}\", to: \"{clock(end)}\"}}"))
            return max(stream.begins_at(begin), stream.ends_at(end))

    punctual(story)


def test_expires_without_a_database(site):
    switch, web, app = site
    end = int(time.time()) + 6
    with Stream(web, app, 8000) as stream:
        apply(switch, timed(f"expires: \"{stamp(end)}\""))
        switch.kill("ovsdb-server")
        wait_for(stream.flows, 20, "the stream")
        stream.ends_at(end)


def many_rules(rules, words):
    """So many rules that concern nobody, before those of timed()."""
    zones = "".join(f"  z{number}: {{match: zone=z{number}}}\n" for number in range(200))
    lines = "".join(f"      - {{id: r{number}, from: z{number % 200}, to: z{number * 7 % 200}, "
                    f"service: tcp/{number % 60000 + 1}, action: deny}}\n" for number in range(rules))
    return timed(words).replace("policies:", zones + "policies:", 1).replace("    rules:\n", "    rules:\n" + lines, 1)


def test_120000_rules_expire_to_the_second(site):
    """They are compiled ahead: what took longer than a moment would be seen."""
    switch, web, app = site

    def story():
        begun = time.time()
        apply(switch, many_rules(120000, "label: x"))
        end = int(time.time() + 3 * (time.time() - begun)) + 6
        with Stream(web, app, 8000) as stream:
            apply(switch, many_rules(120000, f"expires: \"{stamp(end)}\""))
            wait_for(stream.flows, what="the stream")
            return stream.ends_at(end)

    punctual(story)


# --- Half a commit -------------------------------------------------------------------------------------------------


def wait_agreement(switch):
    """The database and the host agree on the revision; returns its number."""
    return wait_for(lambda: (number := root(switch)["policy_wanted"]) == in_force(switch) ==
                    root(switch)["policy_reached"] and number, 20, "agreement between database and switch")


def start_apply(switch, path, why):
    return subprocess.Popen([CORDON, "policy", "apply", path, "-m", why, "--json"], env=switch.environment(),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_command_killed_at_any_moment(site):
    """Before the transaction nothing has happened; after it everything does."""
    switch, *_ = site
    path = os.path.join(switch.directory, "many.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(many_rules(30000, "label: x"))
    begun = time.monotonic()
    switch.cordon("policy", "apply", path, "-m", "whole")
    whole = time.monotonic() - begun
    draw = random.Random(1)
    pipe = os.path.join(switch.directory, "pipe")
    os.mkfifo(pipe)

    def killed(attempt, path, wait):
        """How many revisions it has made."""
        before = max(history(switch))
        command = start_apply(switch, path, f"attempt {attempt}")
        wait(before)
        command.kill()
        command.communicate()
        wait_agreement(switch)
        rows = history(switch)
        assert rows[max(rows)]["wanted"] and len(rows) == max(rows)
        return max(rows) - before

    for attempt in range(12):
        assert killed(attempt, path, lambda _: time.sleep(whole * draw.uniform(0.05, 1.1))) in (0, 1)
    held = os.open(pipe, os.O_RDWR)  # So that a document of which nothing comes never ends.
    assert killed("without a document", pipe, lambda _: time.sleep(whole / 2)) == 0
    os.close(held)
    assert killed("after the transaction", path, lambda before: wait_for(
        lambda: root(switch)["policy_wanted"] > before, what="the transaction", interval=0)) == 1


def written_since(switch, size):
    """What the database's file has had more since it was so long."""
    with open(os.path.join(switch.state, "cordon.db"), "rb") as file:
        file.seek(size)
        return file.read()


def test_database_killed_at_any_moment(site):
    """The revision is there or not, never half; and the command never says that it is not when it is."""
    switch, web, app = site
    path = os.path.join(switch.directory, "some.yaml")
    draw = random.Random(2)
    outcomes = set()
    for attempt in range(6):
        with open(path, "w", encoding="utf-8") as file:
            file.write(OLD + f"# attempt {attempt}\n")
        before = max(history(switch))
        size = os.path.getsize(os.path.join(switch.state, "cordon.db"))
        command = start_apply(switch, path, f"attempt {attempt}")
        if attempt % 2:  # As soon as it is on the disk, which is before the command can know.
            wait_for(lambda last=size: f"# attempt {attempt}".encode() in written_since(switch, last),
                     what="the transaction", interval=0)
        else:
            time.sleep(draw.uniform(0, 0.02))
        switch.kill("ovsdb-server")
        switch.up()
        output, message = command.communicate(timeout=60)
        rows = history(switch)
        assert len(rows) == max(rows), "no number is left out"
        assert max(rows) - before in (0, 1)
        if command.returncode == 0:
            assert f'"revision": {before + 1}' in output and max(rows) == before + 1
        else:
            # What was made may only be called not confirmed, or not in force yet.
            assert max(rows) == before or "look whether it was made" in message or command.returncode == 7, message
        outcomes.add((command.returncode, max(rows) - before))
        wait_agreement(switch)
        assert web.can_connect(app.ipv4, 80), "traffic goes on"
    assert (0, 1) in outcomes, "some were made, although the answer was lost"


@pytest.mark.parametrize("moment", ["compiling", "in force"])
def test_switch_killed(site, moment):
    """While it compiles; after it has put the policy into force, before or while it says so."""
    switch, web, app = site
    path = os.path.join(switch.directory, "many.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(many_rules(60000, "label: x"))

    def is_in_force(revision):
        return f"revision {revision} is in force" in switch.log_file()

    with Stream(web, app, 8000):
        for revision in range(2, 8):
            command = start_apply(switch, path, "killed")
            wait_for(lambda number=revision: root(switch)["policy_wanted"] == number, what="the transaction", interval=0.005)
            if moment == "in force":
                wait_for(lambda number=revision: is_in_force(number), what="the swap", interval=0)
                break
            os.kill(switch.pid(), signal.SIGSTOP)
            if not is_in_force(revision):
                break
            os.kill(switch.pid(), signal.SIGCONT)  # It was ready before it was stopped; the next one may catch it.
            command.communicate(timeout=60)
        else:
            raise AssertionError("the switch was never caught while it compiled")
        switch.kill()
        switch.up()
        output, message = command.communicate(timeout=60)
        assert command.returncode == 0, message
        assert f'"revision": {revision}' in output
        assert wait_agreement(switch) == revision
        assert web.can_connect(app.ipv4, 80)


def test_database_away_while_the_switch_compiles(site):
    switch, web, app = site
    path = os.path.join(switch.directory, "many.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(many_rules(60000, "label: x"))
    command = start_apply(switch, path, "killed")
    wait_for(lambda: 2 in ((status := switch.status()).get("policy_compiling"), status["policy_revision"]), 20,
             "the revision in the switch", interval=0)
    switch.kill("ovsdb-server")
    wait_for(lambda: in_force(switch) == 2, 20, "the revision in force without the database")
    assert web.can_connect(app.ipv4, 80)
    switch.up()
    command.communicate(timeout=60)
    assert wait_agreement(switch) == 2


def test_confirmation_at_the_last_moment(site):
    """Whatever comes first: database, history and switch say the same."""
    switch, *_ = site
    for attempt in range(3):
        before = root(switch)["policy_wanted"]
        answer = apply(switch, NEW, "--confirm", "3s")
        number, until = answer["revision"], answer["pending"]["confirm_by_ns"] / 1e9
        sleep_until(until - 0.05 + 0.03 * attempt)
        confirmed = switch.try_cordon("policy", "confirm").returncode == 0
        sleep_until(until)
        wait_for(lambda: history(switch)[number]["outcome"] != "waiting", what="an outcome")
        wait_for(lambda: wait_agreement(switch) == (number if confirmed else before), what="the revision of that outcome")
        assert history(switch)[number]["outcome"] == ("confirmed" if confirmed else "returned")


def test_hand_made_columns(site):
    """A time without a way back is no reason to cut everybody off."""
    switch, web, app = site
    update_root(switch, policy_confirm_by=1, policy_confirmed=0)
    time.sleep(0.3)
    assert in_force(switch) == 1 and web.can_connect(app.ipv4, 80)
    update_root(switch, policy_wanted=0, policy_confirm_by=0)
    time.sleep(0.3)
    assert in_force(switch) == 1 and web.can_connect(app.ipv4, 80), "nothing wanted is not a policy"


# --- The clock -----------------------------------------------------------------------------------------------------

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class MovableClock(Switch):
    """Its switch, and all commands on it, see the wall clock moved by what is in a file."""

    def __init__(self):
        super().__init__("clock")
        self.path = os.path.join(self.directory, "clock")
        self.move(0)

    def move(self, seconds):
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(f"{seconds:+d}")
        os.rename(self.path + ".new", self.path)

    def environment(self):
        return dict(super().environment(), LD_PRELOAD=FAKETIME, FAKETIME_TIMESTAMP_FILE=self.path,
                    FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_DISABLE_SHM="1")


@pytest.fixture
def moved():
    if not os.path.exists(FAKETIME):
        pytest.skip("the clock is moved by libfaketime, which is missing")
    switch = MovableClock()
    try:
        if "ASan runtime" in switch.try_cordon("version").stderr:
            pytest.skip("AddressSanitizer cannot be loaded behind another library")
        switch.up()
        switch.add_network()
        switch.policy(OLD)
        web, app = switch.host("web", 1), switch.host("app", 2)
        web.knows(app)
        app.knows(web)
        yield switch, web, app
    finally:
        switch.close()


def test_clock_that_is_set(moved):
    """Ahead past the end of a rule, back before it, and ahead once more: the rules are those of the clock."""
    switch, web, app = moved
    with Stream(web, app, 8000) as stream:
        apply(switch, timed(f"expires: \"{stamp(time.time() + 1000)}\""))
        wait_for(stream.flows, 20, "the stream")
        for _ in range(2):
            switch.move(2000)
            wait_for(lambda: not stream.flows(), 20, "the end of what has expired")
            switch.move(-2000)
            wait_for(stream.flows, 20, "what is not expired at this time")
        switch.move(0)
        time.sleep(1.5)
        assert stream.flows()
    assert in_force(switch) == 2


def test_clock_set_back_gives_no_more_time(moved):
    switch, web, app = moved
    with Stream(web, app, 8000) as stream:
        until = apply_until(switch, NEW, 5)
        switch.move(-1000)
        stream.ends_at(until)  # The seconds that were asked for, by whatever clock.
    wait_for(lambda: root(switch)["policy_wanted"] == 1, 20, "the return written down")
    assert in_force(switch) == 1


def test_clock_set_ahead_goes_back_at_once(moved):
    switch, *_ = moved
    apply_until(switch, NEW, 100)
    switch.move(1000)
    wait_for(lambda: in_force(switch) == 1, 20, "the return")
    switch.move(0)
    wait_for(lambda: root(switch)["policy_wanted"] == 1, 20, "the return written down")
    time.sleep(1.5)
    assert in_force(switch) == 1, "it does not go forth again"


def test_the_time_left_is_what_was_asked_for(site):
    """The time ends at a full second, which is nothing that a person has to know."""
    switch, _, _ = site
    path = os.path.join(switch.directory, "new.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(OLD + "# again\n")
    for seconds in (20, 30, 40):
        answer = switch.cordon("policy", "apply", path, "-m", "test", "--confirm", f"{seconds}s")
        # What has passed of it since is not much, as a rule.
        left = math.floor(root(switch)["policy_confirm_by"] - time.time() + 0.5)
        told = int(re.search(r"`cordon policy confirm` within (\d+)s keeps it", answer)[1])
        assert min(left, seconds) <= told <= seconds
    switch.cordon("policy", "confirm")
