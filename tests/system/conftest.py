# SPDX-License-Identifier: Apache-2.0
"""What all stories need: the machine's preconditions, switches that are always taken down, and a report on failure.

    switch          a switch of this test's own, up
    new_switch      makes more of them
    guests          a switch of this test's own with a cordon-hostd that starts stand-ins (vm_host.py)
    shared          one switch for all stories of a module, which leave it as they found it
"""

import os
import subprocess

import pytest

import cordon
import guest
import host
import vm_host
import vmm


def missing():
    """Why nothing here can run, or None."""
    if not host.is_root():
        return "making network namespaces needs root"
    for program in (cordon.CORDON, cordon.SWITCHD):
        if not os.access(program, os.X_OK):
            return f"{program} is missing; `make` builds it"
    probe = cordon.unique("cdn-")
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode != 0:
        return "network namespaces cannot be made here"
    subprocess.run(["ip", "netns", "delete", probe], check=False)
    return None


def pytest_collection_modifyitems(items):
    reason = missing()
    for item in items:
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
        elif "vhost" in item.keywords and not guest.TESTPMD:
            item.add_marker(pytest.mark.skip(reason="guests are played by dpdk-testpmd (package dpdk-dev), which is missing"))

        elif "kvm" in item.keywords and not vmm.KVM:
            item.add_marker(pytest.mark.skip(reason="guests run in KVM, and there is no /dev/kvm here"))


def pytest_configure(config):
    config.addinivalue_line("markers", "vhost: needs dpdk-testpmd to play guests")
    config.addinivalue_line("markers", "kvm: runs guests in KVM")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds what every live switch says of itself, while it is still there."""
    outcome = yield
    report = outcome.get_result()
    if call.when in ("setup", "call") and report.failed:
        for one in cordon.live:
            report.sections.append((f"switch {one.directory}", one.report()))


@pytest.fixture
def new_switch():
    made = []

    def make(name="switch", up=True, **options):
        one = cordon.Switch(name, **options)
        made.append(one)
        if up:
            one.up()
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture
def switch(new_switch, request):
    return new_switch(request.node.name.removeprefix("test_"))


@pytest.fixture
def guests(new_switch, request):
    one = new_switch(request.node.name.removeprefix("test_")[:12], up=False)
    one.up("--no-guests")
    one.add_network()
    return vm_host.Guests(one)


@pytest.fixture(scope="module")
def shared(request):
    one = cordon.Switch(request.module.__name__.removeprefix("test_"))
    try:
        one.up()
        yield one
    finally:
        one.close()


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def version(request):
    return request.param
