#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Churns ports, policies, VLANs, guests, the database and the switch itself under traffic; checks what was promised.

    make soak MINUTES=10
    tests/soak/soak.py [--minutes N] [--seed N] [--build DIRECTORY] [--workers N] [--no-huge] [--keep DIRECTORY]

For the first 60 % of the time the switch is killed and upgraded too; the rest is one process's life, at whose end its
memory, descriptors and buffers are compared with its beginning.  The exit status is 1 if a promise was broken, and the
last lines name it; the directory with the journal is then kept.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def parse_arguments():
    parser = argparse.ArgumentParser(description="Churns a switch under traffic, and checks what was promised.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to repeat what it did")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="where the programs are")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rate", type=int, default=2000, help="frames/s, answers too")
    parser.add_argument("--no-huge", action="store_true", help="without hugepages, even if there are some")
    parser.add_argument("--keep", help="copies the journal and the logs to this directory in any case")
    return parser.parse_args()


def prepare_environment(arguments, directory):
    """Before cordon.py is imported, which reads where the programs are."""
    from sanitizers import sanitizer_environment

    os.environ["CORDON_BUILD"] = os.path.abspath(arguments.build)
    os.environ.update(sanitizer_environment(os.path.join(directory, "sanitizer")))
    sys.path.insert(0, os.path.join(ROOT, "tests", "system"))


def stop(number, _frame):
    """A signal ends the run as Ctrl-C does: everything is taken down."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGTERM, stop)
    arguments = parse_arguments()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}", flush=True)
    directory = tempfile.mkdtemp(prefix="cordon-soak-")
    prepare_environment(arguments, directory)
    from course import Course

    course = Course(arguments, seed, directory)
    try:
        broken = course.run()
    except KeyboardInterrupt:
        broken = ["interrupted"]
    except Exception:
        traceback.print_exc()
        course.promises.broken("the run itself", traceback.format_exc(limit=-1).strip().splitlines()[-1])
        course.promises.print()
        broken = course.promises.names_broken()
    finally:
        course.close()
    if arguments.keep:
        shutil.copytree(directory, arguments.keep, dirs_exist_ok=True)
    if not broken:
        shutil.rmtree(directory, ignore_errors=True)
        print("soak: every promise kept")
        return 0
    print(f"soak: BROKEN: {', '.join(broken)}; repeat with --seed {seed}; the journal is in {directory}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
