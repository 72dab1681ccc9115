#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Cordon, with policy and log on, beside testpmd's io mode and Open vSwitch, on the same sockets with the same traffic.

    tests/bench/bench.py [--quick] [--case forward.1k]... [--device cordon]... [--rounds 3] [--list]

    generator, side A ==vhost-user== device under test ==vhost-user== generator, side B
       (core 1)                         (core 0)                        (core 1)

testpmd's io mode does nothing but move packets between the two ports, so it is what DPDK's vhost library can do on
this machine.  The devices take turns, round by round (A B C A B C), so that what else the machine does meets all of
them alike; a round that it disturbs is repeated.

Needs root, two cores, and Debian's packages of DPDK and Open vSwitch.  Says how far it is on stderr, prints a table of
medians, and writes results.json, rounds.json and one SVG chart per figure to build/bench/.  The programs are taken from
$CORDON_BUILD, or from build/.  Exit status: 0 if all was measured, 1 if something failed, 2 if something is missing.
"""

import argparse
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "system")]

import cases_connections  # noqa: E402
import cases_forwarding  # noqa: E402
import cases_guests  # noqa: E402
import cases_kernel  # noqa: E402
import cases_survival  # noqa: E402
import cases_upkeep  # noqa: E402
from case import DEVICE_NAMES  # noqa: E402
from charts import write_charts  # noqa: E402
from cordon import BUILD, CORDON, SWITCHD  # noqa: E402
from machine import reserved_hugepages, what_is_missing  # noqa: E402
from measure import GENERATOR, Bench, Settings, say  # noqa: E402
from results import print_table, write_files  # noqa: E402

CASES = [*cases_forwarding.CASES, *cases_connections.CASES, *cases_survival.CASES, *cases_kernel.CASES,
         *cases_guests.CASES, *cases_upkeep.CASES]


def parse_arguments():
    parser = argparse.ArgumentParser(description="Cordon beside testpmd's io mode and Open vSwitch.")
    parser.add_argument("--list", action="store_true", help="say what there is to measure, and end")
    parser.add_argument("--quick", action="store_true", help="one short round of the cases that matter most")
    parser.add_argument("--case", action="append", default=[], metavar="KEY",
                        help="only this one, or those that begin so; may be repeated")
    parser.add_argument("--device", action="append", default=[], choices=DEVICE_NAMES,
                        help="only this one; may be repeated")
    parser.add_argument("--rounds", type=int, help="default 3; 1 with --quick")
    parser.add_argument("--seconds", type=int, help="length of a round; default 2; 1 with --quick")
    parser.add_argument("--patience", type=int,
                        help="how often a disturbed round is repeated; default 3; 1 with --quick")
    parser.add_argument("--realtime", action="store_true",
                        help="take the two cores away from everybody else while a round lasts")
    return parser.parse_args()


def settings_of(arguments):
    def choose(given, ordinary, quick):
        return given if given is not None else quick if arguments.quick else ordinary

    return Settings(rounds=max(1, choose(arguments.rounds, 3, 1)), seconds=max(1, choose(arguments.seconds, 2, 1)),
                    patience=max(0, choose(arguments.patience, 3, 1)), realtime=arguments.realtime,
                    quick=arguments.quick)


def names_of(case):
    return [case.name, *(figure.key for figure in case.figures)]


def cases_named(wanted):
    """By the name of a case or of one of its figures; else "latency" stands for all that begin with "latency."."""
    found = [case for case in CASES if wanted in names_of(case)]
    found = found or [case for case in CASES if any(name.startswith(wanted + ".") for name in names_of(case))]
    if not found:
        raise SystemExit(f"bench: there is no case {wanted}; --list names them all")
    return found


def choose_cases(arguments):
    if arguments.case:
        chosen = [case for wanted in arguments.case for case in cases_named(wanted)]
        return [case for case in CASES if case in chosen]
    return [case for case in CASES if case.quick or not arguments.quick]


def print_list():
    for case in CASES:
        for figure in case.figures:
            targets = ", ".join(target.text() for target in figure.targets)
            print(f"{figure.key:22} {figure.unit:16} {figure.title}" + (f"  [{targets}]" if targets else ""))


def run(cases, arguments):
    """All cases; what was measured until something ended it is printed and written in any case."""
    bench = Bench(settings_of(arguments))
    figures = [figure for case in cases for figure in case.figures]
    status = 0
    try:
        with reserved_hugepages(max(case.hugepages for case in cases), say):
            for case in cases:
                bench.run(case, arguments.device)
    except KeyboardInterrupt:
        say("interrupted")
        status = 130
    print_table(figures, bench)
    directory = os.path.join(BUILD, "bench")
    if bench.measured or bench.failures:
        write_files(directory, figures, bench)
        write_charts(os.path.join(directory, "charts"), figures, bench)
        print(f"\nwritten: results.json, rounds.json, failures.log and charts/ in {os.path.relpath(directory)}")
    return status or (1 if bench.failures else 0)


def stop(_signal, _frame):
    """A request to end is like Ctrl-C: everything is cleaned up."""
    raise KeyboardInterrupt


def main():
    arguments = parse_arguments()
    if arguments.list:
        print_list()
        return 0
    cases = choose_cases(arguments)
    missing = what_is_missing([CORDON, SWITCHD, GENERATOR])
    if missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, stop)
    return run(cases, arguments)


if __name__ == "__main__":
    sys.exit(main())
