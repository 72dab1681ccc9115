# SPDX-License-Identifier: Apache-2.0
"""Sockets that a killed process left behind: who starts next finds out that nobody listens there, and takes their place."""

import glob
import os
import signal
import socket

import pytest

from cordon import wait_for
from vmm import Vmm


@pytest.mark.kvm
def test_sockets_of_a_killed_guest_and_its_broker_are_taken_over(tmp_path):
    card = tmp_path / "card.sock"
    first, second, third = (Vmm(tmp_path, "g1", options=["--net", f"socket={card}"]) for _ in range(3))
    try:
        first.start()
        with open(f"/proc/{first.process.pid}/task/{first.process.pid}/children", encoding="ascii") as file:
            broker = int(file.read())
        # The broker would tidy up.
        os.kill(broker, signal.SIGKILL)
        first.kill()
        assert card.is_socket() and os.path.exists(first.path("control"))
        os.unlink(first.path("serial"))
        second.start()
        assert second.ask("status")["pid"] == second.process.pid
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as switch:
            switch.connect(str(card))
        # These are listened at.
        third.start(ready=False)
        assert third.process.wait(timeout=10) == 1
        assert f"another process listens at '{card}'" in third.report()
        assert second.ask("status")["ok"]
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(timeout=10) == 13
        wait_for(lambda: not card.exists(), 5, "the socket gone")
    finally:
        for vmm in (first, second, third):
            vmm.close()


def control_sockets(switch):
    return set(map(os.path.basename, glob.glob(os.path.join(switch.run, "cordon-switchd.*.ctl"))))


def test_a_killed_switchs_control_socket_is_removed_by_the_next(switch):
    others = [os.path.join(switch.run, name) for name in ("cordon-switchd.1.ctl", "cordon-other.1.ctl")]
    killed = control_sockets(switch)
    assert killed == {f"cordon-switchd.{switch.pid()}.ctl"}
    switch.kill()
    assert control_sockets(switch) == killed
    with open(others[0], "w", encoding="ascii"), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(others[1])
        switch.up_again()
        assert control_sockets(switch) == {f"cordon-switchd.{switch.pid()}.ctl", "cordon-switchd.1.ctl"}
        assert os.path.exists(others[1]), "another program's stays"
    for path in others:
        os.unlink(path)
