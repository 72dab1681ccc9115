# SPDX-License-Identifier: Apache-2.0
"""Takes the measurements: sessions of generator and device, rounds in which the devices take turns, and the repetition
of those that other work on the machine has disturbed.

A session is one life of both programs:

    with bench.session("cordon", ["--flows", "1024"], connections=1 << 21) as session:
        session.device                  # it has all flows open by now, and is being measured
        result = session.finish()       # what the generator says
    session.waited                      # the share of the two cores' time that others had meanwhile
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field

from cordon import BUILD, wait_for
from devices import DEVICES, DIE_WITH_US, Needs, end
from machine import GENERATOR_CORE, Watch

GENERATOR = os.path.join(BUILD, "bench", "generator")
WAITED_MAX = 0.08  # Of a round's time, that others may have of a core (the kernel keeps 5 % from real-time threads).
PAUSE_SECONDS = 3  # Before a disturbed round is repeated.
SOCKET_SECONDS = 20
SESSION_SECONDS = 240  # Then the generator is stopped, and the measurement has failed.


@dataclass(frozen=True)
class Settings:
    rounds: int = 3
    seconds: int = 2  # Of the timed part of a round, where the case leaves that open.
    patience: int = 3  # How often a disturbed round is repeated.
    realtime: bool = False
    quick: bool = False


class Failed(Exception):
    """A measurement that did not come about: why, and what its programs say of themselves."""

    def __init__(self, why, report=""):
        super().__init__(why)
        self.report = report


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Session:
    """The generator, and a device on its sockets."""

    def __init__(self, settings, device_name, options, sides, needs):
        self.settings = settings
        self.device_name = device_name
        self.options = options
        self.sides = sides
        self.needs = needs
        self.device = None
        self.generator = None
        self.limit = None
        self.heading = ""
        self.waited = 0.0
        self.watches = []

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="cordon-bench-", dir="/tmp")
        self.errors = tempfile.TemporaryFile(mode="w+")
        self.sockets = {side: os.path.join(self.directory.name, side + ".sock") for side in self.sides}
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self):
        command = [*DIE_WITH_US, GENERATOR, "--core", str(GENERATOR_CORE), *map(str, self.options)]
        for side, path in self.sockets.items():
            command += [f"--socket-{side}", path]
        self.generator = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=self.errors, text=True, start_new_session=True)
        self.limit = threading.Timer(SESSION_SECONDS, self.generator.kill)
        self.limit.daemon = True
        self.limit.start()
        first = self.sockets[self.sides[0]]
        try:
            wait_for(lambda: os.path.exists(first) or self.generator.poll() is not None, SOCKET_SECONDS, "the socket")
            self._check_generator()
            self.device = DEVICES[self.device_name](self.sockets, self.needs)
        except (AssertionError, RuntimeError, subprocess.TimeoutExpired) as error:
            why, _, report = str(error).partition("\n")
            raise Failed(why, report) from error
        self.heading = self.generator.stdout.readline()  # It comes when the generator begins to measure.
        if not self.heading:
            self.generator.wait()
            self._check_generator()
            raise Failed("the generator ended without a word", self.device.report())
        self.watches = [Watch(self.generator.pid, 0.02), Watch(self.device.pid())]
        if self.settings.realtime:
            for watch in self.watches:
                watch.make_realtime()

    def _check_generator(self):
        if self.generator.poll():
            self.errors.seek(0)
            why = self.errors.read().strip() or f"the generator ended with status {self.generator.returncode}"
            if self.generator.returncode == -signal.SIGKILL:
                why = f"nothing came of it within {SESSION_SECONDS} s"
            raise Failed(why, self.device.report() if self.device else "")

    def device_restarted(self):
        """To be called by who has replaced the device's process: another one is watched from now on."""
        self.waited = max(self.waited, self.watches[1].look())
        self.watches[1] = Watch(self.device.pid())

    def finish(self):
        """Waits for the generator's end.  Returns its JSON object."""
        output = self.generator.stdout.read()
        # Who has ended, but is not waited for yet, can still be looked at.
        self.waited = max([self.waited] + [watch.look() for watch in self.watches])
        self.generator.wait()
        self._check_generator()
        return json.loads(self.heading + output)

    def close(self):
        if self.device:
            self.device.close()
        if self.generator:
            self.limit.cancel()
            end(self.generator)
            self.generator.stdout.close()
        self.errors.close()
        self.directory.cleanup()

    def __exit__(self, *_):
        self.close()


@dataclass
class Measured:
    """All rounds of one figure on one device."""

    values: list = field(default_factory=list)
    disturbed: int = 0  # So many of them were, after all tries.

    def median(self):
        return statistics.median(self.values)


@dataclass(frozen=True)
class Failure:
    why: str
    report: str


class Bench:
    """Runs cases, and keeps what they gave."""

    def __init__(self, settings):
        self.settings = settings
        self.measured = {}  # {figure's key: {device: Measured}}
        self.rounds = []  # Everything, for rounds.json.
        self.failures = []

    def session(self, device, options, sides=("a", "b"), **needs):
        """A Session; `needs` are fields of devices.Needs."""
        return Session(self.settings, device, options, sides, Needs(**needs))

    def run(self, case, devices=None):
        """All rounds of a case, its devices (or those that are wanted) taking turns."""
        turns = [turn for turn in case.turns(self.settings) if not devices or turn.device in devices]
        for number in range(1, self.settings.rounds + 1):
            for turn in turns:
                if not self._take(case, turn, number):
                    turns = [one for one in turns if one != turn]

    def _take(self, case, turn, number):
        """One turn.  A failed one is reported, and that device is left out of the case's other rounds."""
        label = f"{case.name:14} {turn.label():16} round {number}/{self.settings.rounds}"
        try:
            result, disturbed = self._measure_undisturbed(case, turn, label)
        except Failed as error:
            say(f"{label}  FAILED: {error}")
            self.failures.append(Failure(f"{case.name} {turn.label()}, round {number}: {error}", error.report))
            return False
        for key, value in result.values.items():
            measured = self.measured.setdefault(key, {}).setdefault(turn.device, Measured())
            measured.values.append(value)
            measured.disturbed += disturbed
        self.rounds.append({"case": case.name, "device": turn.device, "variant": turn.variant, "round": number,
                            "values": result.values, "waited": round(result.waited, 4), "disturbed": disturbed,
                            "details": result.details})
        return True

    def _measure_undisturbed(self, case, turn, label):
        """Repeats a round in which others had too much of a core; the last try counts in any case."""
        for tries_left in range(self.settings.patience, -1, -1):
            started = time.monotonic()
            result = case.measure(self, turn)
            disturbed = result.waited > WAITED_MAX
            figures = ", ".join(f"{key} {number_text(value)}" for key, value in result.values.items())
            say(f"{label}  {figures}  ({time.monotonic() - started:.0f} s"
                + (f"; others had {result.waited:.0%} of a core)" if disturbed else ")"))
            if not disturbed or not tries_left:
                return result, disturbed
            time.sleep(PAUSE_SECONDS)
        raise AssertionError("unreachable")

    def medians(self):
        """{figure's key: {device: median}}"""
        return {key: {device: measured.median() for device, measured in devices.items()}
                for key, devices in self.measured.items()}


def number_text(value):
    """Three digits that matter: 0.123, 1.23, 12.3, 123, 1,234, 12.3k, 1.23M."""
    size = abs(value)
    if size >= 999500:
        return number_text(value / 1e6) + "M"
    if size >= 9999.5:
        return number_text(value / 1e3) + "k"
    if size >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 9.995 else f"{value:.2f}" if size >= 0.9995 or value == 0 else f"{value:.3f}"
