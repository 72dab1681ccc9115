#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Forwarding rate between two vhost-user ports: Cordon, with policy and log on, beside testpmd's io mode.

    tests/bench/forward.py [--flows 1,1024] [--size 64] [--rounds 3] [--seconds 2] [--only testpmd|cordon]

    generator, side A ==vhost-user== device under test ==vhost-user== generator, side B
       (core 1)                         (core 0)                        (core 1)

testpmd's io mode does nothing but move packets between the two ports, so it is what DPDK's vhost library can do on
this machine.  The two take turns on the same sockets with the same generator, round by round, so that what else
the machine does meets both.  Needs root, two cores and hugepages.  Prints a table of medians, and writes all
rounds to build/bench/forward.json.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEVICE_CORE = 0
GENERATOR_CORE = 1
HUGEPAGES_NEEDED = 500  # Of 2 MiB.
WAITED_MAX = 0.08  # Of the time of a round, that others may have of a core (the kernel keeps 5 % from real-time threads).

POLICY = """\
zones:
  left: {match: "side=a"}
  right: {match: "side=b"}
policies:
  - id: bench
    mode: enforce
    rules:
      - {id: left-to-right, from: left, to: right, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

# What the generator's sides are.
SIDES = {
    "a": {"mac": "02:00:00:77:00:01", "address": "10.77.0.1,fd77::1"},
    "b": {"mac": "02:00:00:77:00:02", "address": "10.77.0.2,fd77::2"},
}


class Testpmd:
    """testpmd in io mode on the generator's two sockets."""

    name = "testpmd io"

    def __init__(self, sockets):
        devices = [f"--vdev=eth_vhost{i},iface={path},client=1" for i, path in enumerate(sockets)]
        self.output = tempfile.TemporaryFile()
        # The first lcore runs the command line and sleeps; it is its end of input that testpmd stops at.
        self.process = subprocess.Popen(
            ["dpdk-testpmd", "--lcores", f"0@{DEVICE_CORE},1@{DEVICE_CORE}", "--in-memory", "--no-pci",
             "--no-telemetry", "--log-level=4", "--file-prefix", f"bench{os.getpid()}", "-m", "256", *devices,
             "--", "--forward-mode=io", "--nb-cores=1", "--auto-start", "--total-num-mbufs=16384"],
            stdin=subprocess.PIPE, stdout=self.output, stderr=self.output)

    def close(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.output.close()

    def pid(self):
        return self.process.pid

    def report(self):
        self.output.seek(0)
        return self.output.read().decode(errors="replace")


class Cordon:
    """cordon-switchd with one worker, a policy in force and every session logged."""

    name = "cordon"

    def __init__(self, sockets):
        from cordon import Switch

        self.switch = Switch("bench", ["--workers", "1"])
        try:
            # Everything of the switch is on the device's core, as with testpmd.
            home = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {DEVICE_CORE})
            try:
                self.switch.up()
            finally:
                os.sched_setaffinity(0, home)
            self.switch.add_network()
            for side, path in zip(SIDES, sockets):
                self.switch.add_port(side, type="vhost", socket=path, role="vnic", network="lan",
                                     tag=f"side={side}", **SIDES[side])
            self.switch.policy(POLICY)
        except BaseException:
            print(self.switch.report(), file=sys.stderr)
            self.switch.close()
            raise

    def close(self):
        self.switch.close()

    def pid(self):
        return self.switch.pid()

    def report(self):
        return self.switch.report()


DEVICES = {"testpmd": Testpmd, "cordon": Cordon}


def free_hugepages():
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["HugePages_Free"])


def check_machine(arguments):
    """Says what is missing, and what to do."""
    if os.geteuid() != 0:
        return "this needs root: hugepages and network devices"
    if len(os.sched_getaffinity(0)) < 2:
        return "this needs two cores, one for the device and one for the generator"
    if not shutil.which("dpdk-testpmd"):
        return "dpdk-testpmd is missing; try: apt-get install dpdk"
    if not os.path.exists(arguments.generator):
        return f"{arguments.generator} is missing; try: make bench"
    if free_hugepages() < HUGEPAGES_NEEDED:
        return (f"only {free_hugepages()} hugepages of 2 MiB are free and {HUGEPAGES_NEEDED} are needed; "
                "try: echo 1024 >/proc/sys/vm/nr_hugepages")
    return None


def start_generator(arguments, sockets, flows):
    command = [arguments.generator, "--socket-a", sockets[0], "--socket-b", sockets[1], "--flows", str(flows),
               "--seconds", str(arguments.seconds), "--rounds", "1", "--core", str(GENERATOR_CORE)]
    if arguments.size != "64":
        command += ["--size", arguments.size]
    command += ["--tcp"] if arguments.tcp else []
    command += ["--ipv6"] if arguments.ipv6 else []
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def thread_times(pid):
    """{thread: (ran, waited)}: ns on a core, and ns ready to run while others had the core."""
    times = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            times[int(thread)] = tuple(map(int, file.read().split()[:2]))
    return times


class Forwarder:
    """The thread of a device that forwards: the busiest one while there is traffic."""

    def __init__(self, pid):
        self.pid = pid
        before = thread_times(pid)
        time.sleep(0.15)
        now = thread_times(pid)
        self.thread = max(now, key=lambda thread: now[thread][0] - before.get(thread, (0, 0))[0])
        self.before = now[self.thread]

    def waited_share(self):
        """How much of the time since then it was ready to run, but others had its core."""
        ran, waited = (now - before for now, before in zip(thread_times(self.pid)[self.thread], self.before))
        return waited / max(1, ran + waited)


def make_realtime(*threads):
    for thread in threads:
        os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))


def measure(arguments, device_name, flows):
    """One round; returns what the generator says of it, and how much of the time others took."""
    with tempfile.TemporaryDirectory(prefix="cordon-bench-") as directory:
        sockets = [os.path.join(directory, side + ".sock") for side in SIDES]
        generator = start_generator(arguments, sockets, flows)
        device = None
        try:
            limit = time.monotonic() + 20
            while not os.path.exists(sockets[0]) and time.monotonic() < limit and generator.poll() is None:
                time.sleep(0.05)
            device = DEVICES[device_name](sockets)
            heading = generator.stdout.readline()  # It comes when all flows are open.
            forwarder = Forwarder(device.pid())
            if arguments.realtime and heading:
                make_realtime(generator.pid, forwarder.thread)
            output, errors = generator.communicate(timeout=180)
            if generator.returncode != 0:
                raise SystemExit(f"{device.name}, {flows} flows: {errors}\n{device.report()}")
            result = json.loads(heading + output)
            result["rounds"][0]["waited"] = max(result["rounds"][0]["waited"], forwarder.waited_share())
            return result
        finally:
            if generator.poll() is None:
                generator.kill()
                generator.wait()
            if device:
                device.close()


def measure_undisturbed(arguments, name, flows, number):
    """Repeats a round in which others had too much of a core; the last try counts in any case."""
    for tries_left in range(arguments.patience, -1, -1):
        result = measure(arguments, name, flows)
        row = dict(result["rounds"][0], device=name, flows=flows, round=number, opened=result["opened"])
        row["disturbed"] = row["waited"] > WAITED_MAX
        print(f"  {DEVICES[name].name:11} {flows:>8} flows  round {number}: {row['mpps']:6.2f} Mpps, "
              f"lost {row['a_to_b']['lost'] + row['b_to_a']['lost']}"
              + (f"; others had {row['waited']:.0%} of a core" if row["disturbed"] else ""), file=sys.stderr, flush=True)
        if not row["disturbed"] or not tries_left:
            return row
        time.sleep(3)


def measure_all(arguments, names):
    return [measure_undisturbed(arguments, name, flows, number + 1)
            for flows in arguments.flows for number in range(arguments.rounds) for name in names]


def median_of(rows, name, flows):
    return statistics.median(row["mpps"] for row in rows if row["device"] == name and row["flows"] == flows)


def print_table(arguments, names, rows):
    print(f"\nMpps, both directions together; median of {arguments.rounds} rounds of {arguments.seconds} s; "
          f"{arguments.size}-byte {'IPv6' if arguments.ipv6 else 'IPv4'} {'TCP' if arguments.tcp else 'UDP'}")
    heading = "".join(f"{DEVICES[name].name:>14}" for name in names)
    print(f"{'flows':>10}{heading}{'ratio':>10}" if len(names) == 2 else f"{'flows':>10}{heading}")
    for flows in arguments.flows:
        medians = [median_of(rows, name, flows) for name in names]
        line = f"{flows:>10}" + "".join(f"{median:>14.2f}" for median in medians)
        print(line + (f"{medians[1] / medians[0]:>10.2f}" if len(medians) == 2 else ""))


def parse_arguments():
    parser = argparse.ArgumentParser(description="Forwarding rate beside testpmd's io mode.")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="where the programs are")
    parser.add_argument("--flows", default="1,1024", help="numbers of flows, with commas")
    parser.add_argument("--size", default="64", help="frame bytes without FCS, or imix")
    parser.add_argument("--tcp", action="store_true")
    parser.add_argument("--ipv6", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="length of a round")
    parser.add_argument("--patience", type=int, default=3, help="how often a disturbed round is repeated")
    parser.add_argument("--realtime", action="store_true",
                        help="take the two cores away from everybody else while a round lasts")
    parser.add_argument("--only", choices=sorted(DEVICES))
    arguments = parser.parse_args()
    arguments.build = os.path.abspath(arguments.build)
    arguments.flows = [int(number) for number in arguments.flows.split(",")]
    arguments.generator = os.path.join(arguments.build, "bench", "generator")
    return arguments


def main():
    arguments = parse_arguments()
    missing = check_machine(arguments)
    if missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    os.environ["CORDON_BUILD"] = arguments.build
    sys.path.insert(0, os.path.join(ROOT, "tests", "system"))
    names = [arguments.only] if arguments.only else ["testpmd", "cordon"]
    rows = measure_all(arguments, names)
    print_table(arguments, names, rows)
    path = os.path.join(arguments.build, "bench", "forward.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"machine": platform.processor() or platform.machine(), "kernel": platform.release(),
                   "size": arguments.size, "tcp": arguments.tcp, "ipv6": arguments.ipv6, "rows": rows}, file, indent=1)
        file.write("\n")
    if any(row["disturbed"] for row in rows):
        print("Some rounds were disturbed by other work on this machine; their rates are too low.  --realtime helps.")
    print(f"all rounds: {os.path.relpath(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
