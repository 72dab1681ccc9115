#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Plays cordon-vmm towards cordon-hostd and the switch, without a guest: its options, its control socket (docs/hv.md),
its exit statuses.  Run by cordon-hostd in test_vm.py's stories, as `cordon-hostd --vmm=.../stand_in_vmm.py`.

What its "guest" does is said in --command-line, in words:

    shutdown=S reset=S fault=S die=S    it ends in that way S seconds after its first instruction
    shutdown=told ...                   ... or when a test has made the file "end" in its directory
    once                                ... only the first time; later it goes on
    no-button                           it does not care for the power button
    deaf                                it takes no notice of `stop` nor of SIGTERM
    mute                                its control socket is never answered
    slow                                it listens only when a test has made the file "listen" in its directory
    gibberish=refuse, gibberish=count   what it says when it does not start, or what it counts, is no text
    no-driver                           its guest does not drive the balloon; else it gives at once what it is asked for
"""

import argparse
import json
import os
import select
import signal
import socket
import sys
import time

STATUSES = {"shutdown": 0, "reset": 10, "fault": 11, "die": None, "stopped": 13}
OUTCOMES = {"fault": "guest-fault"}


def read_options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("name", "uuid", "vcpus", "memory", "pages", "kernel", "initrd", "command-line", "cpu-mask", "serial", "control",
                 "outcome", "user", "irqchip"):
        parser.add_argument("--" + name, default="")
    for name in ("net", "disk"):
        parser.add_argument("--" + name, action="append", default=[])
    for name in ("no-rng", "no-balloon", "no-console", "paused"):
        parser.add_argument("--" + name, action="store_true")
    return parser.parse_args()


def listen(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


class Vmm:
    """One loop over all sockets; commands are answered in the order in which they come."""

    def __init__(self, options):
        self.options = options
        words = dict(word.partition("=")[::2] for word in options.command_line.split())
        self.no_button, self.deaf, self.mute = (word in words for word in ("no-button", "deaf", "mute"))
        self.gibberish = words.get("gibberish")
        if self.gibberish == "refuse":
            os.write(2, b"cordon-vmm: the \xff\xfe\n")
            sys.exit(1)
        self.balloon_target, self.balloon_driver = 0, "no-driver" not in words
        self.plan = next(((how, words[how]) for how in ("shutdown", "reset", "fault", "die") if how in words), None)
        self.directory = os.path.dirname(options.control)
        while "slow" in words and not self.is_told("listen"):
            time.sleep(0.01)
        if "once" in words:
            marker = os.path.join(self.directory, "once")
            if os.path.exists(marker):
                self.plan = None
            with open(marker, "w", encoding="ascii"):
                pass
        self.state = "paused" if options.paused else "running"
        self.end_at = None
        self.started = time.monotonic()
        self.nets = []
        for text in options.net:
            fields = dict(word.partition("=")[::2] for word in text.split(","))
            self.nets.append({"socket": fields["socket"], "mac": fields["mac"], "queues": int(fields["queues"]),
                              "listener": listen(fields["socket"]), "peer": None})
        self.outcome = open(options.outcome, "w", encoding="ascii")
        self.control = listen(options.control)
        self.clients = {}
        self.console = set()

    def is_told(self, word):
        """Once each time that a test has made the file."""
        try:
            os.unlink(os.path.join(self.directory, word))
            return True
        except FileNotFoundError:
            return False

    def end(self, how, reason):
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        json.dump({"outcome": OUTCOMES.get(how, how), "status": STATUSES[how], "reason": reason, "report": "",
                   "console_tail": "", "ended_at_ms": int(time.time() * 1000)}, self.outcome)
        self.outcome.close()
        sys.exit(STATUSES[how])

    def run_guest(self):
        self.state = "running"
        if self.plan and self.plan[1] != "told" and self.end_at is None:
            self.end_at = time.monotonic() + float(self.plan[1])

    def is_over(self):
        if not self.plan or self.state != "running":
            return False
        if self.plan[1] == "told":
            return self.is_told("end")
        return self.end_at is not None and time.monotonic() >= self.end_at

    def status(self):
        return {"name": self.options.name, "uuid": self.options.uuid, "version": "0", "pid": os.getpid(), "state": self.state,
                "uptime_ms": int((time.monotonic() - self.started) * 1000), "vcpus": int(self.options.vcpus),
                "memory_bytes": int(self.options.memory) << 20, "huge_pages": False, "disks": [], "balloon_bytes": 0,
                "nets": [{"name": f"net{i}", "mac": net["mac"], "connected": net["peer"] is not None, "queues": net["queues"],
                          "mtu": 0, "socket": net["socket"]} for i, net in enumerate(self.nets)]}

    def balloon(self):
        return {"name": "balloon0", "type": "balloon", "driver": self.balloon_driver,
                "counters": {"target-bytes": self.balloon_target, "actual-bytes": self.balloon_driver and self.balloon_target}}

    def set_balloon(self, wanted):
        if self.options.no_balloon or wanted >= int(self.options.memory) << 20:
            return {"ok": False, "error": "this guest cannot"}
        self.balloon_target = wanted
        return {"ok": True}

    def answer(self, client, request):
        command = request["command"]
        reply = {"ok": True}
        if command == "status":
            reply.update(self.status())
        elif command == "resume":
            self.run_guest()
        elif command == "pause":
            self.state = "paused"
        elif command == "metrics":
            reply["vcpus"] = [{"name": "vcpu0", "exits": {"io": 5}}]
            reply["options"] = sys.argv[1:]
            reply["devices"] = [] if self.options.no_balloon else [self.balloon()]
        elif command == "balloon":
            reply = self.set_balloon(request["bytes"])
        elif command == "power-button" and not self.no_button:
            self.end("shutdown", "the guest switched itself off")
        elif command == "stop" and not self.deaf:
            client.send(b'{"ok":true}\n')
            self.end("stopped", "it was told to stop")
        elif command == "console":
            self.console.add(client)
        text = json.dumps(reply).encode()
        if command == "metrics" and self.gibberish == "count":
            text = b'{"ok":true,"\xff\xfe":1,"' + b"long" * 100 + b'":2,"two words":3,"good":4}'
        client.send(text + b"\n" + (b"welcome to " + self.options.name.encode() + b"\r\n"
                                                          if command == "console" else b""))

    def read(self, client):
        data = client.recv(4096)
        if not data:
            del self.clients[client]
            self.console.discard(client)
            client.close()
        elif client in self.console:
            client.send(data.upper())  # What a guest's echo would be.
        else:
            self.clients[client] += data
            while b"\n" in self.clients[client]:
                line, _, self.clients[client] = self.clients[client].partition(b"\n")
                if not self.mute:
                    self.answer(client, json.loads(line))

    def run(self):
        while True:
            if self.is_over():
                self.end(self.plan[0], f"the guest did as planned: {self.plan[0]}")
            sockets = [self.control, *self.clients, *(net["listener"] for net in self.nets)]
            for one in select.select(sockets, [], [], 0.02)[0]:
                if one is self.control:
                    self.clients[one.accept()[0]] = b""
                elif one in self.clients:
                    self.read(one)
                else:
                    net, = (net for net in self.nets if net["listener"] is one)
                    net["peer"] = one.accept()[0]


def main():
    options = read_options()
    if not os.path.exists(options.kernel):
        sys.exit(f"cordon-vmm: the kernel {options.kernel} cannot be opened: No such file or directory")
    if options.user != "":
        print(f"its user is to be {options.user}", file=sys.stderr)
    vmm = Vmm(options)
    signal.signal(signal.SIGTERM, lambda *_: None if vmm.deaf else vmm.end("stopped", "it was told to end by a signal"))
    vmm.run()


if __name__ == "__main__":
    main()
