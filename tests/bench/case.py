# SPDX-License-Identifier: Apache-2.0
"""What a case of the bench is: figures, their targets, and the turns that are taken to measure them.

A case file makes subclasses of Case and lists its cases in CASES:

    class Forward(Case):
        def measure(self, bench, turn):
            with bench.session(turn.device, ["--flows", "1024"]) as session:
                result = session.finish()
            return Round({"forward.1k": result["rounds"][0]["mpps"]}, session.waited)

bench.py calls measure() for one turn after the other, round by round, so that what else the machine does meets all
devices alike.
"""

from dataclasses import dataclass, field

TESTPMD_IO, OVS_PLAIN, OVS_STATEFUL, CORDON, LINUX_BRIDGE = (
    "testpmd_io", "ovs_plain", "ovs_stateful", "cordon", "linux_bridge")

# In the order in which tables and charts show them.
DEVICE_NAMES = (TESTPMD_IO, OVS_PLAIN, OVS_STATEFUL, LINUX_BRIDGE, CORDON)


@dataclass(frozen=True)
class Target:
    """What Cordon's figure is to be at least (or at most): a number, or a share of another one."""

    number: float
    of: str = None  # A device: its median of the same figure is 1.
    of_key: str = None  # Another figure: Cordon's median of it is 1.
    most: bool = False

    def text(self):
        number = f"{self.number:,.0f}" if self.number >= 1000 else f"{self.number:g}"
        reference = self.of or self.of_key
        if reference:
            number = reference if self.number == 1 else f"{number} x {reference}"
        return f"{'<=' if self.most else '>='} {number}"

    def limit(self, medians, key):
        """The number in the figure's unit, or None if what it is a share of was not measured."""
        if not self.of and not self.of_key:
            return self.number
        reference = medians.get(self.of_key or key, {}).get(self.of or CORDON)
        return None if reference is None else self.number * reference

    def met(self, medians, key):
        """True, False, or None if something was not measured."""
        value, limit = medians.get(key, {}).get(CORDON), self.limit(medians, key)
        if value is None or limit is None:
            return None
        return value <= limit if self.most else value >= limit


@dataclass(frozen=True)
class Figure:
    """One row of the table, one key of results.json, one chart."""

    key: str
    unit: str
    title: str
    targets: tuple = ()  # All are to be met.
    lower_is_better: bool = False


@dataclass(frozen=True)
class Turn:
    """One measurement of a round: a device, and what the case wants to know of it beside (see Case.turns)."""

    device: str
    variant: object = None

    def label(self):
        return self.device if self.variant is None else f"{self.device} {self.variant}"


@dataclass
class Round:
    """What one turn gave."""

    values: dict  # Of each figure's key that was measured.
    waited: float = 0.0  # Share of the time that others had of the two cores; see machine.py.
    details: dict = field(default_factory=dict)  # What else is worth keeping in rounds.json.


class Case:
    """A subclass sets what differs, and has measure()."""

    name = ""
    figures = ()
    devices = (CORDON,)
    quick = False  # Part of `bench.py --quick`, ...
    quick_devices = None  # ...with these devices, if not all.
    hugepages = 700  # Of 2 MiB: what the hungriest device and the generator take together.

    def turns(self, settings):
        """What makes up a round, in this order."""
        devices = self.devices
        if settings.quick and self.quick_devices:
            devices = self.quick_devices
        return [Turn(device) for device in devices]

    def measure(self, bench, turn):
        """Measures once; returns a Round."""
        raise NotImplementedError
