# SPDX-License-Identifier: Apache-2.0
"""`cordon capture` as the tests drive it, and its files as tshark reads them."""

import json
import signal
import subprocess

from cordon import CORDON, wait_for

FIELDS = {"number": "frame.number", "port": "frame.interface_name", "comment": "frame.comment", "bytes": "frame.len",
          "captured": "frame.cap_len", "vlan": "vlan.id", "flags": "tcp.flags", "protocols": "frame.protocols"}


def comment_words(text):
    """The parts of a packet's comment: "sent to db; verdict: allowed" is {"where": "sent to db", "verdict": "allowed"}."""
    first, *others = text.split("; ")
    words = {"where": first, "notes": []}
    for part in others:
        name, colon, value = part.partition(": ")
        if colon:
            words[name] = value
        else:
            words["notes"].append(part)
    return words


def read(path, display_filter=""):
    """The packets of a file, which tshark has to read without complaint."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=/t"]
    if display_filter:
        command += ["-Y", display_filter]
    for field in FIELDS.values():
        command += ["-e", field]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in result.stderr.splitlines() if line and not line.startswith("Running as user")]
    assert result.returncode == 0 and not complaints, result.stderr
    rows = [dict(zip(FIELDS, line.split("\t"))) for line in result.stdout.splitlines()]
    return [{**row, **comment_words(row["comment"])} for row in rows]


def blocks(path):
    """The types of the blocks of a file, and the statistics of its interfaces: [{option: value}]."""
    types, statistics = [], []
    with open(path, "rb") as file:
        data = file.read()
    at = 0
    while at < len(data):
        kind, length = (int.from_bytes(data[at + i:at + i + 4], "little") for i in (0, 4))
        assert length >= 12 and data[at + 4:at + 8] == data[at + length - 4:at + length], f"a damaged block at {at}"
        types.append(kind)
        if kind == 5:
            statistics.append(options(data[at + 20:at + length - 4]))
        at += length
    assert at == len(data)
    return types, statistics


def options(data):
    found = {}
    while data:
        code, length = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
        found[code] = int.from_bytes(data[4:4 + length], "little")
        data = data[4 + (length + 3) // 4 * 4:]
    return found


# All that have begun, for those that a failed test has left.
begun = []


class Capture:
    """One `cordon capture` under way: it has begun when the constructor returns."""

    def __init__(self, switch, *words, stdout=subprocess.PIPE, wrap=()):
        self.switch = switch
        before = self.under_way()
        self.process = subprocess.Popen([*wrap, CORDON, "capture", *map(str, words)], env=switch.environment(),
                                        stdout=stdout, stderr=subprocess.PIPE, text=True)
        begun.append(self)
        wait_for(lambda: self.under_way() - before or self.process.poll() is not None, 30, "the capture")
        if not wrap:
            wait_for(lambda: self.process.poll() is not None or self.minds_interrupts(), 30, "the capture's client")

    def under_way(self):
        """When those that the switch knows of have begun.  One that has just ended may be among them for a moment."""
        return {capture["start_ns"] for capture in self.switch.status().get("captures", [])}

    def minds_interrupts(self):
        """From when it has its file, Ctrl-C no longer kills it, but ends the capture (proc(5): the blocked signals)."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            blocked = next(line for line in file if line.startswith("SigBlk:"))
        return int(blocked.split()[1], 16) >> (signal.SIGINT - 1) & 1

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self, quiet=True):
        """As Ctrl-C does; where traffic comes to an end, when what was sent has come in.  Returns what it printed."""
        if quiet:
            self.switch.wait_quiet()
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self, status=0, seconds=60):
        self.output, self.message = self.process.communicate(timeout=seconds)
        assert self.process.returncode == status, self.message
        return self.output

    def rows(self):
        """With --json and no file: what it printed."""
        return [json.loads(line) for line in self.output.splitlines()]
