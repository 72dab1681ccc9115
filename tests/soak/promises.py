# SPDX-License-Identifier: Apache-2.0
"""What the switch promises, and how it went: the table at the end of a run."""


class Promises:
    """Rows of (promise, kept, what was seen).  A promise may be checked often; one failure breaks it."""

    def __init__(self, journal):
        self.journal = journal
        self.rows = {}

    def check(self, name, kept, seen):
        self.journal.write(f"{'kept' if kept else 'BROKEN'}: {name}: {seen}")
        if not kept:
            print(f"  BROKEN: {name}: {seen}", flush=True)
        if self.rows.get(name, (True, ""))[0]:
            self.rows[name] = (kept, seen)

    def broken(self, name, seen):
        self.check(name, False, seen)

    def names_broken(self):
        return [name for name, (kept, _) in self.rows.items() if not kept]

    def print(self):
        width = max(map(len, self.rows), default=0)
        for name, (kept, seen) in self.rows.items():
            print(f"  {name:<{width}}  {'kept  ' if kept else 'BROKEN'}  {seen}")
