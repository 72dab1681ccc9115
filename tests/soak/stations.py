# SPDX-License-Identifier: Apache-2.0
"""Drives the program that plays the machines around the switch (stations/main.c lists its commands)."""

import json
import os
import signal
import subprocess


class Stations:
    """One process, a command at a time.  It ends with its standard input, so never outlives us."""

    def __init__(self, program, run, seed, flows, violations):
        self.flows = flows
        self.violations = violations
        self.process = subprocess.Popen([program, str(run), str(seed), flows, violations], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, *words):
        """The line that it answers."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the stations' program ended, status {self.process.wait(5)}, at: {words[0]}")
        return line.strip()

    def tell(self, *words):
        answer = self.ask(*words)
        if answer != "ok":
            raise RuntimeError(f"stations: {' '.join(map(str, words))}: {answer}")

    def report(self):
        return json.loads(self.ask("report"))

    def waiting(self):
        """The probes that have not arrived."""
        return self.ask("waiting").split()

    def told_violations(self):
        with open(self.violations, encoding="ascii") as file:
            return file.read().splitlines()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.kill(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.process.stdout.close()
