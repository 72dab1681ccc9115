# SPDX-License-Identifier: Apache-2.0
"""What a new connection costs: set-up rates, whole TCP life cycles, many rules, and a table that is full."""

import time

from case import CORDON, OVS_STATEFUL, TESTPMD_IO, Case, Figure, Round, Target, Turn
from measure import Failed
from policies import many_rules

MILLION = 1000000
SETUP_OPTIONS = ("--mode", "setup", "--flows", MILLION)
LOG_SECONDS = 10  # That the log may take, once the traffic is over.


def log_lost(session):
    """The share of the log's records that were lost, once all are written: the log's thread shares the worker's core,
    and comes after it.  None for devices without a log."""
    if session.device_name != CORDON:
        return None

    def counts():
        log = session.device.switch.status()["log"]
        return log["stored"], log["lost"]

    until = time.monotonic() + LOG_SECONDS
    before, now = None, counts()
    while now != before and time.monotonic() < until:
        time.sleep(0.5)
        before, now = now, counts()
    return now[1] / max(1, sum(now))


def with_log(key, value, lost):
    """The figure and, if there is a log, its row."""
    return {key: value} if lost is None else {key: value, f"{key}.log_lost": lost}


def log_figure(key, title):
    return Figure(f"{key}.log_lost", "share", f"Log records lost meanwhile: {title}", lower_is_better=True)


def open_flows(session, flows):
    result = session.finish()
    if result["failed"] > flows // 1000:
        raise Failed(f"{result['failed']} of {flows} flows got no reply")
    return result


class Setup(Case):
    """UDP connections from nothing: one frame from A, and the reply of B as soon as it has come."""

    name = "setup"
    figures = (Figure("setup", "flows/s", "New UDP flows, both directions seen, one million from nothing",
                      (Target(1.2 * MILLION),)),
               log_figure("setup", "one million new UDP flows"))
    devices = (TESTPMD_IO, OVS_STATEFUL, CORDON)
    quick = True
    quick_devices = (OVS_STATEFUL, CORDON)

    def measure(self, bench, turn):
        with bench.session(turn.device, SETUP_OPTIONS, connections=2 * MILLION) as session:
            result = open_flows(session, MILLION)
            values = with_log("setup", result["flows_per_second"], log_lost(session))
        return Round(values, session.waited, result)


class Rules(Case):
    """The same under a policy of ten rules, and under one of 120,000."""

    name = "rules"
    figures = (
        Figure("rules.10", "flows/s", "New UDP flows under a policy of 10 rules"),
        Figure("rules.120k", "flows/s", "New UDP flows under a policy of 120,000 rules",
               (Target(0.9, of_key="rules.10"),)),
    )
    quick = True
    RULES = {"10": 10, "120k": 120000}

    def turns(self, settings):
        return [Turn(CORDON, variant) for variant in self.RULES]

    def measure(self, bench, turn):
        policy = many_rules(self.RULES[turn.variant])
        with bench.session(turn.device, SETUP_OPTIONS, connections=2 * MILLION, policy=policy) as session:
            result = open_flows(session, MILLION)
        return Round({f"rules.{turn.variant}": result["flows_per_second"]}, session.waited, result)


class LifeCycles(Case):
    """TCP connections from SYN to the last ACK, with one request and one response."""

    name = "cps"
    figures = (Figure("cps", "connections/s", "Whole TCP connections: open, one request, close",
                      (Target(MILLION // 2), Target(5, of=OVS_STATEFUL))),
               log_figure("cps", "whole TCP connections"))
    devices = (TESTPMD_IO, OVS_STATEFUL, CORDON)
    quick = True
    quick_devices = (OVS_STATEFUL, CORDON)

    def measure(self, bench, turn):
        options = ["--mode", "cps", "--seconds", bench.settings.seconds, "--rounds", 1]
        with bench.session(turn.device, options, connections=4 * MILLION) as session:
            measured = session.finish()["rounds"][0]
            values = with_log("cps", measured["connections_per_second"], log_lost(session))
        return Round(values, session.waited, measured)


class Full(Case):
    """A table of four million with four million established connections in it, and as many new flows that find no room:
    what share of the established ones' frames still arrives, relative to the same without the new flows."""

    name = "full"
    figures = (
        Figure("full", "kept share", "Established connections, while 8M flows are offered to a table of 4M",
               (Target(0.9),)),
        Figure("full.refused", "share", "Frames of the flows beyond 4M that were refused, by name", (Target(0.99),)),
    )
    devices = (OVS_STATEFUL, CORDON)
    quick = True
    quick_devices = (CORDON,)
    hugepages = 1100

    TABLE = 4 * MILLION
    RATE_MPPS = 2
    NEW_RATE_MPPS = 1
    SECONDS = 4  # At that rate it takes so long to offer four million new ones.

    def measure(self, bench, turn):
        alone = self._delivered(bench, turn.device, ["--seconds", bench.settings.seconds])
        beside = self._delivered(bench, turn.device, ["--flows", 2 * self.TABLE, "--new-rate", self.NEW_RATE_MPPS,
                                                      "--seconds", self.SECONDS])
        return Round({"full": beside["share"] / alone["share"], "full.refused": beside["refused"]},
                     max(alone["waited"], beside["waited"]), {"alone": alone, "beside": beside})

    def _delivered(self, bench, device, options):
        options = ["--mode", "full", "--established", self.TABLE, "--rate", self.RATE_MPPS, "--rounds", 1,
                   *options]
        with bench.session(device, options, connections=self.TABLE) as session:
            measured = session.finish()["rounds"][0]
            drops = session.device.switch.drops() if device == CORDON else {}
        established, new = measured["established"], measured["new"]
        refused = min(new["lost"], drops.get("table-full", 0)) if device == CORDON else new["lost"]
        return {"share": established["received"] / max(1, established["offered"]),
                "refused": refused / max(1, new["sent"]), "drops": {name: n for name, n in drops.items() if n},
                "waited": session.waited, "measured": measured}


CASES = [Setup(), LifeCycles(), Rules(), Full()]
