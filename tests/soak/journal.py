# SPDX-License-Identifier: Apache-2.0
"""What was done when.  Times are those of the monotonic clock, as in the stations' file of violations."""

import time


class Journal:
    def __init__(self, path):
        self.path = path
        self.file = open(path, "w", encoding="utf-8")
        self.began = time.monotonic()
        self.counts = {}

    def write(self, text):
        now = time.monotonic()
        self.file.write(f"{now:.6f} +{now - self.began:.3f} {text}\n")
        self.file.flush()

    def did(self, name, text=""):
        """An action, which is counted too."""
        self.counts[name] = self.counts.get(name, 0) + 1
        self.write(f"{name} {text}".rstrip())

    def close(self):
        self.file.close()
