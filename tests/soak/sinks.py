# SPDX-License-Identifier: Apache-2.0
"""A second place of the traffic log, which fails now and then, beside dead ones that come and go."""

import collections
import json
import os
import time

DEAD = (("dead-flows", "ipfix", "collector=127.0.0.1:9", "transport=tcp"),
        ("dead-alarms", "syslog", "server=127.0.0.1:9", "transport=tcp"),
        ("dead-fleet", "postgresql", "connection=host=127.0.0.1 port=9 dbname=fleet"))


class Sinks:
    def __init__(self, switch, dice, journal, directory):
        self.switch, self.dice, self.journal = switch, dice, journal
        self.folder = os.path.join(directory, "sink")
        self.path = os.path.join(self.folder, "traffic.json")

    def build(self):
        os.mkdir(self.folder)
        self.switch.cordon("sink", "add", "lines", "json", f"path={self.path}")

    def fail(self):
        """The file's directory goes, and comes back."""
        self.journal.did("sink-fails")
        os.rename(self.folder, self.folder + ".away")
        time.sleep(self.dice.random() * 2)
        os.rename(self.folder + ".away", self.folder)

    def come_and_go(self):
        """A place that never answers, and then another one under its name."""
        name, *words = self.dice.choice(DEAD)
        self.journal.did("dead-sink", name)
        self.switch.cordon("sink", "add", name, *words)
        time.sleep(self.dice.random())
        self.switch.cordon("sink", "del", name)
        if self.dice.random() < 0.5:
            self.switch.cordon("sink", "add", name, "json", f"path={self.folder}/missing/traffic.json")
            time.sleep(self.dice.random() * 0.5)
            self.switch.cordon("sink", "del", name)

    def records(self):
        with open(self.path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]


def told(records):
    return sum(record["packets_forward"] for record in records if record["kind"] == "gap")


def numbers(records):
    return collections.Counter(record["sequence"] for record in records if record["kind"] != "gap")


def judge(course, stored):
    """Both places have the same records, but for what their gap records tell, and each number stands for one."""
    lines = course.sinks.records()
    here, there = numbers(stored), numbers(lines)
    twice = [number for counted in (here, there) for number, n in counted.items() if n > 1]
    course.promises.check("no sequence number is given twice", not twice, f"{len(here)} numbers, {len(twice)} of them twice")
    course.promises.check("a sink that fails has all records, or says what it lost", len(here - there) <= told(lines),
                          f"{len(here - there)} of {len(here)} are missing there, gaps tell of {told(lines)}")
    course.promises.check("so has the one that does not", len(there - here) <= told(stored),
                          f"{len(there - here)} of {len(there)} are missing there, gaps tell of {told(stored)}")
