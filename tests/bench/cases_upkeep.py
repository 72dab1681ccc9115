# SPDX-License-Identifier: Apache-2.0
"""What a switch costs that does nothing: CPU time, and memory for the connections that it knows."""

import time

from case import CORDON, Case, Figure, Round, Target
from cordon import Switch, cpu_seconds
from devices import POLICY
from guest import VhostGuest
from machine import DEVICE_CORE, on_core
from measure import Failed

MILLION = 1000000


class Idle(Case):
    """Two guests and two kernel ports, a policy, and no traffic: the share of a CPU that the switch uses."""

    name = "idle"
    figures = (Figure("idle", "percent", "CPU of an idle switch with two guests and two kernel ports",
                      (Target(2, most=True),), lower_is_better=True),)
    quick = True
    SETTLE_SECONDS, SECONDS, SECONDS_QUICK = 2, 10, 5

    def measure(self, bench, turn):
        switch = Switch("idle", ["--workers", "1"])
        try:
            with on_core(DEVICE_CORE):
                switch.up()
            switch.add_network()
            self._plug(switch)
            switch.policy(POLICY)
            time.sleep(self.SETTLE_SECONDS)
            before, begun = cpu_seconds(switch.pid()), time.monotonic()
            time.sleep(self.SECONDS_QUICK if bench.settings.quick else self.SECONDS)
            percent = 100 * (cpu_seconds(switch.pid()) - before) / (time.monotonic() - begun)
            return Round({"idle": percent}, details={"huge_pages": switch.status()["huge_pages"]})
        except AssertionError as error:
            raise Failed(str(error), switch.report()) from error
        finally:
            switch.close()

    @staticmethod
    def _plug(switch):
        for number, side in enumerate("ab", 1):
            switch.host(f"host-{side}", number, port_options={"tag": f"side={side}"})
        for number, side in enumerate("ab", 3):
            guest = VhostGuest(switch, f"guest-{side}", number)
            switch.hosts.append(guest)
            guest.start()
            switch.add_port(guest.name, type="vhost", socket=guest.socket_path, role="vnic", network="lan",
                            mac=guest.mac, address=guest.ipv4, tag=f"side={side}")
            guest.wait_ready()
            switch.wait_port(guest.name)


def memory_bytes(pid):
    """All that a process has in memory, hugepages included."""
    total = 0
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("Rss", "Shared_Hugetlb", "Private_Hugetlb"):
                total += int(rest.split()[0]) * 1024
    return total


class Memory(Case):
    """The process with so many live connections, in a table with room for one in a hundred more, less the process with
    the smallest table and one connection: all that is there because of them."""

    name = "memory"
    SIZES = {"1m": MILLION, "10m": 10 * MILLION}
    figures = (
        Figure("memory", "bytes", "Memory of a connection, the most of all sizes", (Target(256, most=True),),
               lower_is_better=True),
        *(Figure(f"memory.{name}", "bytes", f"Memory of a connection, with {number:,} of them", lower_is_better=True)
          for name, number in SIZES.items()),
    )
    TABLE_LEAST = 1024
    hugepages = 1500

    def measure(self, bench, turn):
        values, details = {}, {}
        least, _ = self._bytes(bench, 1, self.TABLE_LEAST)
        for name, number in self.SIZES.items():
            total, live = self._bytes(bench, number, number + number // 100)
            if live < 0.99 * number:
                raise Failed(f"of {number} connections only {live} are there")
            values[f"memory.{name}"] = (total - least) / live
            details[name] = {"total": total, "live": live}
        values["memory"] = max(values.values())
        return Round(values, details=dict(details, least=least))

    @staticmethod
    def _bytes(bench, flows, table):
        """(bytes in memory, live connections) when all are open."""
        options = ["--flows", flows, "--seconds", 1, "--rounds", 1]
        with bench.session(CORDON, options, connections=table) as session:
            live = session.device.switch.status()["connections"]
            return memory_bytes(session.device.pid()), live["count"]


CASES = [Idle(), Memory()]
