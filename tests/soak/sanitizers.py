# SPDX-License-Identifier: Apache-2.0
"""Sanitizers' options, as tests/run has them, and their findings."""

import glob
import importlib.machinery
import importlib.util
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def sanitizer_environment(prefix):
    """What sanitizers find in a daemon goes to files that begin with `prefix`."""
    loader = importlib.machinery.SourceFileLoader("run", os.path.join(ROOT, "tests", "run"))
    spec = importlib.util.spec_from_loader("run", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    environment = module.sanitizer_environment()
    module.report_to_files(environment, prefix)
    # Freed memory is kept for a while, to find who still uses it; with less of it, growth can be seen.
    environment["ASAN_OPTIONS"] += ":quarantine_size_mb=16"
    environment["TSAN_OPTIONS"] += f":log_path={prefix}"
    return {name: environment[name] for name in environment if name.endswith("SAN_OPTIONS")}


def findings(prefix):
    """The reports that were written, each as text."""
    texts = []
    for path in sorted(glob.glob(prefix + ".*")):
        with open(path, encoding="utf-8", errors="replace") as file:
            texts.append(file.read())
    return texts
