#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions that a packet costs the worker, case by case, and holds them to recorded bounds.

    make bench-instructions                 exit status 1 if a case needs more than its bound
    make bench-instructions RECORD=1        writes what is measured, and SLACK more, as the new bounds
    tests/bench/instructions.py --functions 15      also says which functions they are spent in
    tests/bench/instructions.py --json FILE         where the figures go (BUILD/bench/instructions.json)

callgrind executes build/bench/instructions, whose cases are in tests/bench/instructions/cases.c.  It counts from the
receipt of a burst to the next look at a queue, without the ports' own work.  The counts are the same whatever else
the machine is doing, and the same again in the next run but for the seeds of hashes (far below 1 %).  They say what
is executed, not how long memory is waited for: that is for `make bench`.

The bounds are in tests/bench/instructions.bounds, for Debian 12's gcc at -O2: a line for each case.
"""

import argparse
import collections
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BOUNDS = os.path.join(HERE, "instructions.bounds")
SLACK = 1.05
SECONDS = 300

BOUNDS_HEAD = """\
# SPDX-License-Identifier: Apache-2.0
#
# Instructions per packet that a case may take: those of the run that recorded them, and 5 % more.
# Written by `make bench-instructions RECORD=1`.
"""

# A line of callgrind's format that names a function or a file: "fn=(12) name" at first, "fn=(12)" from then on.
NAME = re.compile(r"(fn|cfn|fl|fi|fe|cfi|cfl|ob|cob)=\((\d+)\)(?: (.*))?$")
COST = re.compile(r"(?:[+-]?\d+|\*) (\d+)$")

Case = collections.namedtuple("Case", "name what frames instructions functions")


def fail(message):
    sys.exit(f"instructions: {message}")


# --- Running --------------------------------------------------------------------------------------------------


def run_callgrind(program, directory):
    """Runs all cases.  Returns what the program said of them: [name, frames, what it is]."""
    command = ["valgrind", "--tool=callgrind", "--collect-atstart=no",
               f"--callgrind-out-file={os.path.join(directory, 'counts')}", program]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except FileNotFoundError:
        fail("valgrind is missing; install it with: apt-get install valgrind")
    except subprocess.TimeoutExpired:
        fail(f"{program} was not done after {SECONDS} s")
    if result.returncode != 0:
        fail(f"{program} ended with status {result.returncode}:\n{result.stderr}{result.stdout}")
    return [line.split("\t") for line in result.stdout.splitlines() if line.count("\t") == 2]


def read_dump(path):
    """The case that a dump was made for, or None, and the instructions of each function by itself."""
    case, total, function, calls = None, None, None, False
    functions, names = collections.Counter(), {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if match := NAME.match(line):
                kind, number, name = match.groups()
                if kind in ("fn", "cfn"):
                    if name is not None:
                        names[number] = name
                    function = names[number] if kind == "fn" else function
            elif line.startswith("desc: Trigger: Client Request: "):
                case = line.rsplit(": ", 1)[1].strip()
            elif line.startswith("summary:"):
                total = int(line.split()[1])
            elif line.startswith("calls="):
                calls = True  # The next line has what was spent in the function that is called.
            elif match := COST.match(line):
                if not calls:
                    functions[function] += int(match.group(1))
                calls = False
    if case is not None and sum(functions.values()) != total:
        fail(f"the functions' instructions in {path} make {sum(functions.values())}, not {total}")
    return case, functions


def measure(build):
    program = os.path.join(build, "bench", "instructions")
    with tempfile.TemporaryDirectory(prefix="cordon-instructions-") as directory:
        said = run_callgrind(program, directory)
        dumps = dict(read_dump(path) for path in glob.glob(os.path.join(directory, "counts*")))
    if not said:
        fail(f"{program} ran no case")
    cases = []
    for name, frames, what in said:
        if not dumps.get(name):
            fail(f"callgrind counted nothing for {name}")
        frames = int(frames)
        per_frame = {function: count / frames for function, count in dumps[name].most_common()}
        cases.append(Case(name, what, frames, sum(per_frame.values()), per_frame))
    return cases


# --- Bounds ---------------------------------------------------------------------------------------------------


def read_bounds():
    bounds = {}
    with open(BOUNDS, encoding="ascii") as file:
        for line in file:
            words = line.partition("#")[0].split()
            if len(words) == 2:
                bounds[words[0]] = float(words[1])
            elif words:
                fail(f"{BOUNDS}: \"{line.strip()}\" is not the name of a case and a number")
    return bounds


def record_bounds(cases):
    with open(BOUNDS, "w", encoding="ascii") as file:
        file.write(BOUNDS_HEAD)
        for case in cases:
            file.write(f"{case.name:16} {case.instructions * SLACK:8.0f}\n")


def judge(cases, bounds):
    """What is wrong, a sentence each."""
    wrong = [f"{BOUNDS} names {name}, which is no case" for name in bounds if name not in {case.name for case in cases}]
    for case in cases:
        bound = bounds.get(case.name)
        if bound is None:
            wrong.append(f"{case.name} has no bound; record one with: make bench-instructions RECORD=1")
        elif case.instructions > bound:
            wrong.append(f"{case.name} takes {case.instructions:.0f} instructions per packet, "
                         f"{case.instructions / bound * 100 - 100:.1f} % more than its bound of {bound:.0f}")
    return wrong


# --- Saying so ------------------------------------------------------------------------------------------------


def print_table(cases, bounds):
    print(f"{'path':16} {'per packet':>10} {'bound':>8}  {'ok':3}  frames that are counted")
    for case in cases:
        bound = bounds.get(case.name)
        good = "yes" if bound is not None and case.instructions <= bound else "NO"
        limit = f"{bound:.0f}" if bound is not None else "none"
        print(f"{case.name:16} {case.instructions:10.1f} {limit:>8}  {good:3}  {case.what}")


def print_functions(cases, n):
    for case in cases:
        print(f"\n{case.name}: {case.instructions:.1f} per packet")
        for function, count in list(case.functions.items())[:n]:
            print(f"{count:10.1f} {count / case.instructions * 100:5.1f} %  {function}")


def write_json(cases, bounds, path):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    document = {case.name: {"unit": "instructions per packet", "what": case.what, "frames": case.frames,
                            "instructions": round(case.instructions, 2), "bound": bounds.get(case.name),
                            "functions": {name: round(count, 2) for name, count in case.functions.items()}}
                for case in cases}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.write("\n")


def parse_arguments():
    parser = argparse.ArgumentParser(description="Counts the packet path's instructions.")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="where the programs are")
    parser.add_argument("--json", help="where the figures go; BUILD/bench/instructions.json if not said")
    parser.add_argument("--record", action="store_true", help="write new bounds")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="list each case's N dearest functions")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    cases = measure(arguments.build)
    if arguments.record:
        record_bounds(cases)
    bounds = read_bounds()
    print_table(cases, bounds)
    print_functions(cases if arguments.functions else [], arguments.functions)
    write_json(cases, bounds, arguments.json or os.path.join(arguments.build, "bench", "instructions.json"))
    wrong = judge(cases, bounds)
    for sentence in wrong:
        print(f"instructions: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
