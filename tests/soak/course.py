# SPDX-License-Identifier: Apache-2.0
"""The course of a soak run: build, churn with restarts, churn without, take everything away, and judge."""

import os
import random
import time

import audit
import leaks
import sinks
import traffic_log
from actions import POLICIES_IN_ROTATION, Actions
from cordon import BUILD, Switch
from journal import Journal
from promises import Promises
from sanitizers import findings
from stations import Stations
from tcp import Tcp
from world import Policy, World

PROGRESS_SECONDS = 10
AUDIT_SECONDS = 25
RESTARTS_SHARE = 0.6
POLICY_SHARE = 0.45  # Of all triples of zones and service that a policy allows.


class Course:
    def __init__(self, arguments, seed, directory):
        self.arguments, self.seed, self.directory = arguments, seed, directory
        self.dice = random.Random(seed)
        self.journal = Journal(os.path.join(directory, "journal"))
        self.promises = Promises(self.journal)
        self.switch = self.stations = self.world = self.tcp = None
        self.before = leaks.machine()
        self.huge = not arguments.no_huge and self.before["hugepages_free"] >= leaks.HUGEPAGES_NEEDED
        self.progress_at = self.audit_at = 0.0

    # --- The run -------------------------------------------------------------------------------------------------

    def run(self):
        """The names of the promises that were broken."""
        self._begin()
        restarts_end = self.began + RESTARTS_SHARE * self.seconds
        self._churn(restarts_end, restarts=True)
        if self.journal.counts.get("kill-switch", 0) == 0:
            self.actions.kill_switch()
        self.actions.everything_once()
        self._audit()
        life = leaks.Life(self)
        self._go()
        self._churn(self.began + self.seconds, restarts=False, life=life)
        self._audit()
        life.end(self.promises)
        self._take_away()
        self._judge()
        self.promises.print()
        return self.promises.names_broken()

    def _begin(self):
        self.seconds = 60 * self.arguments.minutes
        options = ["--workers", str(self.arguments.workers)] + ([] if self.huge else ["--no-huge"])
        self.switch = Switch("soak", up_options=options)
        self.stations = Stations(os.path.join(BUILD, "soak", "stations"), self.seed & 0xffffffff, self.seed,
                                 os.path.join(self.directory, "flows"), os.path.join(self.directory, "violations"))
        self.switch_directory = self.switch.directory
        self.journal.write(f"seed {self.seed}, {self.arguments}, hugepages: {self.huge}")
        self.switch.up()
        self.world = World(self.switch, self.stations, self.dice, self.journal)
        policies = [Policy(self.dice, POLICY_SHARE) for _ in range(POLICIES_IN_ROTATION)]
        self.sinks = sinks.Sinks(self.switch, self.dice, self.journal, self.directory)
        self.actions = Actions(self.world, policies, self.sinks)
        self.world.build()
        self.sinks.build()
        self.tcp = Tcp(self.switch)
        self.tcp.start()
        self.world.apply(policies[0])
        self.began = time.monotonic()
        self.progress_at = self.began + PROGRESS_SECONDS
        self._go()

    def _go(self):
        self.stations.tell("rate", self.arguments.rate)
        self.tcp.go()
        self.audit_at = time.monotonic() + AUDIT_SECONDS

    def rest(self):
        """No traffic."""
        self.stations.tell("rate", 0)
        self.tcp.rest()

    def _churn(self, end, restarts, life=None):
        while time.monotonic() < end:
            self.actions.step(restarts)
            self.actions.check_alive()
            if life:
                life.sample()
            time.sleep(self.dice.random() * 0.8)
            if time.monotonic() >= self.progress_at:
                self._progress()
            if time.monotonic() >= self.audit_at:
                self._audit()
                self._go()

    def _audit(self):
        self.rest()
        audit.audit(self)

    def _progress(self):
        self.progress_at += PROGRESS_SECONDS
        report = self.stations.report()
        counts = self.journal.counts
        restarts = counts.get("kill-switch", 0) + counts.get("upgrade", 0)
        print(f"{time.monotonic() - self.began:6.0f} s  {sum(counts.values())} actions, {restarts} restarts, "
              f"{report['request_sent']} requests sent, {report['request_arrived']} arrived, "
              f"{report['denied_tries']} were not to, {self.tcp.exchanged} TCP connections, "
              f"broken: {len(self.promises.names_broken())}", flush=True)

    # --- The end -------------------------------------------------------------------------------------------------

    def _take_away(self):
        """All connections, ports and processes, one after the other, so that each can be seen to leave nothing."""
        self.rest()
        self.tcp.close()
        self.tcp_opened, self.tcp_hosts = self.tcp.opened, (self.tcp.client, self.tcp.server)
        self.tcp_exchanged, self.tcp_mixed_up = self.tcp.exchanged, self.tcp.mixed_up
        self.switch.cordon("conn", "flush", "--all")
        audit.wait_no_connections(self)
        self.report = self.stations.report()
        for name in list(self.world.wires):
            if self.world.wires[name].plugged:
                self.world.unplug(name)
        for name in ("h0", "h1"):
            self.switch.cordon("port", "del", name)
        leaks.check_buffers(self)
        self.stations.close()
        self.switch.cordon("down")

    def _judge(self):
        audit.judge_delivery(self)
        traffic_log.judge(self)
        self.close()
        texts = findings(os.path.join(self.directory, "sanitizer"))
        self.promises.check("sanitizers find nothing", not texts, texts[0][:3000] if texts else "no report")
        leaks.check_machine(self)

    def _keep_logs(self):
        """What the programs said, beside the journal."""
        for program in ("cordon-switchd", "ovsdb-server"):
            with open(os.path.join(self.directory, f"{program}.log"), "w", encoding="utf-8") as file:
                file.write(self.switch.log_file(program))

    def close(self):
        """Takes everything down, whatever state it is in."""
        if self.switch is not None:
            self._keep_logs()
        for part in (self.tcp, self.stations, self.switch, self.world):
            if part is not None:
                part.close()
        self.tcp = self.stations = self.switch = self.world = None
