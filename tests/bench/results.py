# SPDX-License-Identifier: Apache-2.0
"""What the bench leaves behind: a table on the terminal, results.json, and every single round in rounds.json.

results.json has one object for each figure: its unit, and the median of each device that was measured:

    {"forward.1k": {"unit": "Mpps", "testpmd_io": 13.3, "ovs_plain": 9.4, "cordon": 11.1}, ...}
"""

import json
import os
import platform

from case import CORDON, DEVICE_NAMES, TESTPMD_IO
from measure import number_text

MARKS = {True: "met", False: "NOT MET", None: "not measured"}


def spread_text(measured):
    if len(measured.values) < 2:
        return "disturbed" if measured.disturbed else ""
    text = f"{number_text(min(measured.values))}..{number_text(max(measured.values))}"
    return text + ("!" if measured.disturbed else "")


def share_text(medians, key):
    """Cordon's share of testpmd io."""
    row = medians.get(key, {})
    limit, value = row.get(TESTPMD_IO), row.get(CORDON)
    return f"{value / limit:.2f}" if limit and value is not None else ""


def target_texts(figure, medians):
    return [f"{target.text()}: {MARKS[target.met(medians, figure.key)]}" for target in figure.targets]


def table_lines(figures, measured, medians, devices):
    """Two lines for each figure: medians, and below them the least and the most of the rounds."""
    width = max(len(figure.key) for figure in figures) + 2
    yield (f"{'':{width}}{'unit':<14}" + "".join(f"{name:>16}" for name in devices) + f"{'of io':>8}  target")
    for figure in figures:
        row = measured[figure.key]
        targets = target_texts(figure, medians)
        cells = "".join(f"{number_text(row[name].median()) if name in row else '-':>16}" for name in devices)
        line = f"{figure.key:{width}}{figure.unit:<14}{cells}{share_text(medians, figure.key):>8}"
        yield f"{line}  {'; '.join(targets)}".rstrip()
        spreads = "".join(f"{spread_text(row[name]) if name in row else '':>16}" for name in devices)
        if spreads.strip():
            yield f"{'':{width}}{'':14}{spreads}"


def print_table(figures, bench):
    measured, medians = bench.measured, bench.medians()
    figures = [figure for figure in figures if figure.key in measured]
    for failure in bench.failures:
        print(f"failed: {failure.why}")
    if not figures:
        print("nothing was measured")
        return
    devices = [name for name in DEVICE_NAMES if any(name in measured[figure.key] for figure in figures)]
    rounds = bench.settings.rounds
    how = f"Medians of {rounds} rounds, with the least and the most below them." if rounds > 1 else "One round."
    print(f"\n{how}\n")
    for line in table_lines(figures, measured, medians, devices):
        print(line)
    if any(one.disturbed for row in measured.values() for one in row.values()):
        print("\n! Other work on this machine disturbed some of these rounds, and went on doing so when they were "
              "repeated.\n  Their figures are too low; --realtime helps.")


def machine():
    """What the figures were measured on."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")),
                     platform.machine())
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release()}


def write_json(path, content):
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    os.replace(path + ".new", path)


def write_files(directory, figures, bench):
    """results.json, rounds.json, and failures.log with what the programs of failed measurements said."""
    os.makedirs(directory, exist_ok=True)
    medians = bench.medians()
    units = {figure.key: figure.unit for figure in figures}
    write_json(os.path.join(directory, "results.json"),
               {key: {"unit": units[key], **{name: row[name] for name in DEVICE_NAMES if name in row}}
                for key, row in medians.items()})
    write_json(os.path.join(directory, "rounds.json"),
               {"machine": machine(), "rounds": bench.rounds, "failures": [failure.why for failure in bench.failures]})
    with open(os.path.join(directory, "failures.log"), "w", encoding="utf-8") as file:
        file.write("".join(f"=== {failure.why}\n{failure.report}\n" for failure in bench.failures))
