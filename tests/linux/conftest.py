# SPDX-License-Identifier: Apache-2.0
"""What the stories of Linux guests need beyond those of tests/system: kernels and files, made once for a run.

What cannot be made is not skipped but fails: `make check-linux` installs what is missing before it comes here.
"""

import importlib.util
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
SYSTEM = os.path.join(os.path.dirname(HERE), "system")
sys.path.insert(0, SYSTEM)

# Its fixtures, and what it tells of every switch after a failure, are ours too.
_specification = importlib.util.spec_from_file_location("system_conftest", os.path.join(SYSTEM, "conftest.py"))
_system = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(_system)
new_switch, switch, shared, version = _system.new_switch, _system.switch, _system.shared, _system.version
pytest_runtest_makereport = _system.pytest_runtest_makereport


def pytest_collection_modifyitems(items):
    reason = _system.missing()
    for item in items:
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


# What stories have measured, for the end of the run.
_measured = []


@pytest.fixture(scope="session")
def measured():
    """Keeps a line for the end of the run."""
    return _measured.append


def pytest_terminal_summary(terminalreporter):
    for line in _measured:
        terminalreporter.write_line(f"measured: {line}")


def printed_lines(*words):
    """What a script of ours prints on its standard output; the other one goes to the report."""
    result = subprocess.run([os.path.join(HERE, words[0]), *words[1:]], stdout=subprocess.PIPE, text=True, timeout=3600,
                            check=False)
    assert result.returncode == 0, f"{' '.join(words)} failed: see what it said above"
    return result.stdout.splitlines()


@pytest.fixture(scope="session")
def linux_files(tmp_path_factory):
    """Debian's cloud kernel and an archive with busybox, iperf3 and the modules of virtio."""
    from initramfs import build
    from linux_guest import LinuxFiles

    kernel_package, busybox_package = printed_lines("fetch-packages", "linux-image-cloud-amd64", "busybox-static")
    boot = os.path.join(kernel_package, "boot")
    kernel = next(os.path.join(boot, name) for name in os.listdir(boot) if name.startswith("vmlinuz-"))
    archive = str(tmp_path_factory.mktemp("linux") / "initramfs")
    build(archive, kernel_package, busybox_package)
    return LinuxFiles(kernel, archive)


@pytest.fixture(scope="session")
def small_kernel():
    """The directory of the small kernel, compiled if it is not there: minutes."""
    return printed_lines("build-kernel")[-1]


def archive_of(tmp_path_factory, name, code):
    from initramfs import build_alone

    path = str(tmp_path_factory.mktemp("linux") / name)
    build_alone(path, code)
    return path


@pytest.fixture(scope="session")
def spinning_init(tmp_path_factory):
    from initramfs import SPIN

    return archive_of(tmp_path_factory, "spinning", SPIN)


@pytest.fixture(scope="session")
def falling_init(tmp_path_factory):
    from initramfs import FALL

    return archive_of(tmp_path_factory, "falling", FALL)
