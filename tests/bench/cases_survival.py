# SPDX-License-Identifier: Apache-2.0
"""What the others keep while something bad happens: an attack, a crash, a new policy, a flood of log records."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time

from case import CORDON, OVS_PLAIN, Case, Figure, Round, Target, Turn
from cordon import Switch, process_is_alive, wait_for
from machine import DEVICE_CORE, GENERATOR_CORE, on_core
from measure import Failed
from policies import deny_service, many_rules

ZONES = """\
zones:
  left: {match: "side=a"}
  right: {match: "side=b"}
  third: {match: "side=c"}
policies:
  - id: bench
    mode: enforce
    rules:
"""
BASELINE = "baseline: {between_zones: deny, within_zone: allow, log: denied}\n"

# Long enough for the milliseconds in which something else has the generator's core: what is lost, the switch lost.
QUEUE_FRAMES = 4096


def policy(*rules):
    return ZONES + "".join(f"      - {{{rule}}}\n" for rule in rules) + BASELINE


def allow(name, source, destination, log="session"):
    return f"id: {name}, from: {source}, to: {destination}, action: allow, log: {log}"


LEFT_TO_RIGHT = allow("left-to-right", "left", "right")


class Attack(Case):
    """A and B at half of the rate that the device can do, with 10,000 new connections a second between them, while a
    third guest is silent, and while it attacks: what share of both is left.  It may open connections to B, so that its
    frames are not just dropped."""

    name = "attack"
    ATTACKS = {
        "random": "a guest that sends random headers",
        "syn": "a guest that floods with SYNs",
        "mac": "a guest with a new MAC in each frame",
    }
    figures = (
        Figure("attack", "kept share", "What the others keep under the worst attack of one vNIC", (Target(0.9),)),
        *(Figure(f"attack.{kind}", "kept share", f"What the others keep beside {text}")
          for kind, text in ATTACKS.items()),
    )
    devices = (OVS_PLAIN, CORDON)
    quick = True
    quick_devices = (CORDON,)
    NEW_FLOWS = 10000

    def measure(self, bench, turn):
        rate, waited = self._half_rate(bench, turn.device)
        alone = self._beside(bench, turn.device, "none", rate)
        values, details = {}, {"rate_mpps": rate, "none": alone}
        waited = max(waited, alone["waited"])
        for kind in self.ATTACKS:
            beside = details[kind] = self._beside(bench, turn.device, kind, rate)
            values[f"attack.{kind}"] = min(1.0, beside["mpps"] / alone["mpps"], beside["answered"] / alone["answered"])
            waited = max(waited, beside["waited"])
        values["attack"] = min(values.values())
        return Round(values, waited, details)

    def _session(self, bench, device, options):
        return bench.session(device, [*options, "--seconds", bench.settings.seconds, "--rounds", 1], ("a", "b", "c"),
                             policy=policy(LEFT_TO_RIGHT, allow("third-to-right", "third", "right")))

    def _half_rate(self, bench, device):
        """The rings hold senders back, so that what they take is what arrives."""
        with self._session(bench, device, ["--mode", "attack", "--attack", "none"]) as session:
            result = session.finish()
        return round(result["rounds"][0]["mpps"] / 2, 3), session.waited

    def _beside(self, bench, device, kind, rate):
        with self._session(bench, device, ["--mode", "attack", "--attack", kind, "--rate", rate,
                                           "--new-flows", self.NEW_FLOWS]) as session:
            measured = session.finish()["rounds"][0]
            drops = session.device.switch.drops() if device == CORDON else {}
        if not measured["new_flows"]["answered"]:
            raise Failed(f"no new connection was answered beside attack {kind}", str(measured))
        return {"mpps": measured["mpps"], "answered": measured["new_flows"]["answered"], "waited": session.waited,
                "measured": measured, "drops": {name: count for name, count in drops.items() if count}}


# --- A crash -------------------------------------------------------------------------------------------------------

def kill_and_start(switch):
    """As a crash and a service manager that starts the program again at once, with the same command."""
    pid = switch.pid()
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        command = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    killed = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not process_is_alive(pid), 10, "the end of cordon-switchd", interval=0.001)
    with on_core(DEVICE_CORE):
        result = subprocess.run(command, env=switch.environment(), stdin=subprocess.DEVNULL, capture_output=True,
                                text=True, timeout=60, check=False)
    if result.returncode != 0:
        raise Failed("cordon-switchd does not start again", result.stdout + result.stderr + switch.report())
    return killed


class Stream:
    """Datagrams from one host to another, and when they arrived."""

    PORT = 9000
    INTERVAL_S = 0.0005

    def __init__(self, sender, receiver):
        self.receiving = receiver.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiving.bind(("", self.PORT))
        self.receiving.settimeout(0.2)
        self.sending = sender.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sending.connect((receiver.ipv4, self.PORT))
        self.arrivals = []
        self.sent = 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._send, self._receive)]

    def _send(self):
        following = time.monotonic()
        while not self.stop.is_set():
            with contextlib.suppress(OSError):  # The device may be away for a moment.
                self.sending.send(b"x" * 32)
                self.sent += 1
            following += self.INTERVAL_S
            time.sleep(max(0, following - time.monotonic()))

    def _receive(self):
        while not self.stop.is_set():
            with contextlib.suppress(TimeoutError):
                self.receiving.recv(100)
                self.arrivals.append(time.monotonic())

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(5)
        self.sending.close()
        self.receiving.close()

    def longest_gap_ms(self):
        return max(b - a for a, b in zip(self.arrivals, self.arrivals[1:])) * 1000


class Restart(Case):
    """The switch is killed (-9) under load and started again at once: the longest time without a frame, and which of
    the TCP connections are still known, both ways.  Between kernel ports, datagrams every half millisecond."""

    name = "restart"
    figures = (
        Figure("restart", "ms", "Gap of a kill -9 and restart, guests", (Target(200, most=True),),
               lower_is_better=True),
        Figure("restart.kept", "kept share", "Connections that live on after it", (Target(1),)),
        Figure("restart.kernel", "ms", "Gap of a kill -9 and restart, kernel ports", lower_is_better=True),
    )
    quick = True
    FLOWS = 100000
    RATE_MPPS = 1
    BEFORE_SECONDS, SECONDS = 1, 5

    def turns(self, settings):
        return [Turn(CORDON, "guests")] + ([] if settings.quick else [Turn(CORDON, "kernel")])

    def measure(self, bench, turn):
        return self._between_guests(bench) if turn.variant == "guests" else self._between_kernel_ports()

    def _between_guests(self, bench):
        options = ["--mode", "keep", "--tcp", "--flows", self.FLOWS, "--rate", self.RATE_MPPS,
                   "--seconds", self.SECONDS, "--queue", QUEUE_FRAMES]
        with bench.session(CORDON, options) as session:
            time.sleep(self.BEFORE_SECONDS)
            killed = kill_and_start(session.device.switch)
            session.device_restarted()
            result = session.finish()
            adopted = session.device.switch.status()["connections"]["adopted"]
        for direction in ("a_to_b", "b_to_a"):
            # What was in the ring still arrives, or something else held the frames up for longer.
            late_ms = (result[direction]["gap_begin_monotonic_ns"] - killed) / 1e6
            if not -50 < late_ms < 1000:
                raise Failed(f"the longest gap began {late_ms:.0f} ms after the kill: it is not the restart's",
                             json.dumps(result))
        return Round({"restart": max(result["a_to_b"]["gap_ms"], result["b_to_a"]["gap_ms"]),
                      "restart.kept": result["heard_again"] / self.FLOWS},
                     session.waited, dict(result, adopted=adopted))

    def _between_kernel_ports(self):
        switch = Switch("bench", ["--workers", "1"])
        try:
            with on_core(DEVICE_CORE):
                switch.up()
            switch.add_network()
            switch.policy(policy(LEFT_TO_RIGHT))
            sender, receiver = (switch.host(f"host-{side}", number, port_options={"tag": f"side={side}"})
                                for number, side in enumerate("ab", 1))
            sender.knows(receiver)
            with Stream(sender, receiver) as stream:
                wait_for(lambda: len(stream.arrivals) > 200, 10, "the stream")
                kill_and_start(switch)
                arrived = len(stream.arrivals)
                wait_for(lambda: len(stream.arrivals) > arrived + 200, 30, "the stream after the restart")
            return Round({"restart.kernel": stream.longest_gap_ms()},
                         details={"lost": stream.sent - len(stream.arrivals), "sent": stream.sent})
        except AssertionError as error:
            raise Failed(str(error), switch.report()) from error
        finally:
            switch.close()


# --- A new policy ----------------------------------------------------------------------------------------------------

class Commit(Case):
    """A policy of 120,000 rules that denies one flow more is put into force while a million connections have traffic:
    from the start of the command until the last frame of that flow arrives, which a thousand times a second asks
    whether the new revision judges yet; and what the million others lose.  A sender whose ring is full waits, as a
    guest does: lost is what the ring took and nobody got."""

    name = "commit"
    RULES = {"few": 3, "120k": 120000}
    figures = (
        Figure("commit", "ms", "Until a new policy of 120,000 rules is in force, with 1M live connections",
               (Target(1000, most=True),), lower_is_better=True),
        Figure("commit.few", "ms", "The same with a policy of few rules", lower_is_better=True),
        Figure("commit.lost", "frames", "Frames of allowed connections lost meanwhile", (Target(0, most=True),),
               lower_is_better=True),
    )
    FLOWS = 1000000
    CONNECTIONS = 1 << 21
    RATE_MPPS = 1
    BEFORE_SECONDS, SECONDS = 2.5, 8  # All connections have a frame each way every two seconds.

    def turns(self, settings):
        return [Turn(CORDON, variant) for variant in self.RULES]

    def measure(self, bench, turn):
        rules = self.RULES[turn.variant]
        options = ["--mode", "keep", "--watch", "--flows", self.FLOWS, "--rate", self.RATE_MPPS,
                   "--seconds", self.SECONDS, "--queue", QUEUE_FRAMES]
        with bench.session(turn.device, options, connections=self.CONNECTIONS, policy=many_rules(rules)) as session:
            port = json.loads(session.heading.strip().rstrip(",") + "}")["watched_port"]
            denying = many_rules(rules, deny_service(f"udp/{port}"))
            switch = session.device.switch
            path = os.path.join(switch.directory, "denying.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(denying)
            time.sleep(self.BEFORE_SECONDS)
            live = switch.status()["connections"]
            begun = time.monotonic_ns()
            switch.cordon("policy", "apply", path, "-m", "deny one flow more")
            command_ms = (time.monotonic_ns() - begun) / 1e6
            result = session.finish()
            compiled = [line for line in switch.log_file().splitlines() if "compiled in" in line]
        directions = ("a_to_b", "b_to_a")
        last = max(result["watched"][one]["last_monotonic_ns"] for one in directions)
        if last > begun + (self.SECONDS - self.BEFORE_SECONDS) * 0.8e9:
            raise Failed("the denied flow went on until the end", json.dumps(result))
        values = {"commit" if turn.variant == "120k" else "commit.few": max(0.0, (last - begun) / 1e6),
                  "commit.lost": sum(result[one]["lost"] for one in directions)}
        return Round(values, session.waited, dict(result, command_ms=command_ms, live=live, compiled=compiled[-1:]))


# --- The log ---------------------------------------------------------------------------------------------------------

class Logs(Case):
    """220,000 new connections a second beside a steady rate of frames, every one of them logged, and the same with a
    rule that does not log: records stored per second, records lost, and what is left of the rate.

    The log is written by another thread than the one that forwards.  Here it is on the generator's core, and goes
    before the generator, which polls in the time that is left: as on a host that has a core for it, what is measured
    is what logging takes from the worker.  Beside that, rounds.json has how busy the worker was."""

    name = "logs"
    figures = (
        Figure("logs", "records/s", "Log records stored", (Target(200000),)),
        Figure("logs.lost", "records", "Log records lost", (Target(0, most=True),), lower_is_better=True),
        Figure("logs.kept", "kept share", "Frames forwarded while connections are logged, of those without a log",
               (Target(0.9),)),
    )
    CONNECTIONS = 1 << 22
    RATE_MPPS, NEW_FLOWS, SECONDS = 2, 220000, 4
    PRIORITY = -10

    def measure(self, bench, turn):
        without = self._measure(bench, turn.device, "none")
        logged = self._measure(bench, turn.device, "session")
        values = {"logs": logged["stored"] / logged["seconds"], "logs.lost": logged["lost"],
                  "logs.kept": logged["mpps"] / without["mpps"]}
        return Round(values, max(without["waited"], logged["waited"]), {"without": without, "logged": logged})

    def _measure(self, bench, device, log):
        options = ["--mode", "attack", "--attack", "none", "--rate", self.RATE_MPPS, "--new-flows", self.NEW_FLOWS,
                   "--seconds", self.SECONDS, "--rounds", 1, "--queue", QUEUE_FRAMES]
        with bench.session(device, options, connections=self.CONNECTIONS,
                           policy=policy(allow("left-to-right", "left", "right", log))) as session:
            begun = time.monotonic()
            self._move_other_threads(session.device.pid())
            before = session.device.switch.status()["log"]
            time.sleep(self.SECONDS / 2)
            workers = session.device.switch.json("worker", "list")
            measured = session.finish()["rounds"][0]
            waited = session.watches[1].share  # The worker's: the generator has to wait for the log.
            now, seconds = self._wait_written(session.device.switch, begun)
        return {"mpps": measured["mpps"], "stored": now["stored"] - before["stored"],
                "lost": now["lost"] - before["lost"], "seconds": seconds, "waited": waited,
                "workers": workers, "measured": measured}

    def _move_other_threads(self, pid):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/task/{thread}/comm", encoding="utf-8") as file:
                    if not file.read().startswith("worker"):
                        os.sched_setaffinity(int(thread), {GENERATOR_CORE})
                        os.setpriority(os.PRIO_PROCESS, int(thread), self.PRIORITY)

    @staticmethod
    def _wait_written(switch, begun):
        """What the log says when no more is written, and when the last of it was."""
        log, last = switch.status()["log"], time.monotonic()
        while time.monotonic() < last + 1:
            time.sleep(0.1)
            now = switch.status()["log"]
            if now["stored"] != log["stored"]:
                log, last = now, time.monotonic()
        return log, last - begun


CASES = [Attack(), Restart(), Commit(), Logs()]
