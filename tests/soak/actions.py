# SPDX-License-Identifier: Apache-2.0
"""What is done to the switch while traffic goes on.  Each action says what it does in the journal."""

import time

from cordon import process_is_alive, wait_for
from world import VLANS, WAIT_SECONDS, ZONES, GuestWire

POLICIES_IN_ROTATION = 4


class Actions:
    """A dice, and what it may choose: (weight, action, may be chosen while the switch is to live)."""

    def __init__(self, world, policies, sinks):
        self.world, self.policies, self.sinks = world, policies, sinks
        self.switch, self.stations, self.dice, self.journal = world.switch, world.stations, world.dice, world.journal
        self.kills = []  # When the switch was killed: records of the moments before may be lost.
        self.table = [
            (20, self.apply_policy, True),
            (12, self.move_zone, True),
            (8, self.move_vlan, True),
            (10, self.replug, True),
            (10, self.reboot_guest, True),
            (10, self.move_outside, True),
            (5, self.flush, True),
            (4, self.kill_database, True),
            (4, self.sinks.fail, True),
            (4, self.sinks.come_and_go, True),
            (4, self.kill_switch, False),
            (2, self.kill_and_change, False),
            (3, self.upgrade, False),
        ]

    def step(self, restarts):
        """One action; with `restarts`, the switch itself may be restarted."""
        rows = [row for row in self.table if restarts or row[2]]
        self.dice.choices([row[1] for row in rows], [row[0] for row in rows])[0]()

    # --- Configuration -------------------------------------------------------------------------------------------

    def apply_policy(self):
        number = self.dice.randrange(len(self.policies))
        self.journal.did("policy", str(number))
        self.world.apply(self.policies[number])

    def move_zone(self):
        endpoint = self.dice.choice([one for one in self.world.vnics() if one.wire.plugged])
        zone = self.dice.choice([zone for zone in (*ZONES, None) if zone != endpoint.zone])
        self.journal.did("zone-move", f"{endpoint.name} to {zone or 'quarantine'}")
        self.world.move_zone(endpoint, zone)

    def move_vlan(self):
        endpoint = self.dice.choice([one for one in self.world.vnics() if one.wire.plugged])
        network = self.dice.choice([name for name in VLANS if name != endpoint.network])
        self.journal.did("vlan-move", f"{endpoint.name} to {network}")
        self.world.move_vlan(endpoint, network)

    def replug(self):
        """A port goes, and comes back, perhaps as somebody else: another zone, another VLAN."""
        endpoint = self.dice.choice(self.world.vnics())
        self.journal.did("unplug", endpoint.name)
        self.world.unplug(endpoint.name)
        time.sleep(self.dice.random() * 0.5)
        if self.dice.random() < 0.5:
            endpoint.zone = self.dice.choice(ZONES)
            endpoint.network = self.dice.choice(list(VLANS))
        self.journal.did("plug", f"{endpoint.name}, {endpoint.zone}, {endpoint.network}")
        self.world.plug(endpoint.name)

    def move_outside(self):
        endpoint = self.dice.choice(self.world.outsiders())
        uplinks = [wire for wire in self.world.wires.values() if wire.trunk]
        wire = self.dice.choice([one for one in uplinks if one is not endpoint.wire])
        self.journal.did("mac-move", f"{endpoint.name} to {wire.name}")
        self.world.move_outside(endpoint, wire)

    def flush(self):
        self.journal.did("flush")
        self.switch.cordon("conn", "flush", "--all")

    # --- Crashes ---------------------------------------------------------------------------------------------------

    def reboot_guest(self):
        wire = self.dice.choice([wire for wire in self.world.wires.values() if isinstance(wire, GuestWire)])
        self.journal.did("guest-death", wire.name)
        wire.die()
        time.sleep(self.dice.random() * 0.5)
        self.journal.did("guest-boot", wire.name)
        wire.start()

    def kill_database(self):
        self.journal.did("kill-database")
        self.switch.kill("ovsdb-server")
        time.sleep(self.dice.random() * 2)
        self.bring_up()

    def kill_switch(self):
        self.journal.did("kill-switch")
        self.kills.append(time.monotonic())
        self.switch.kill("cordon-switchd")
        if self.dice.random() < 0.3:
            self.journal.did("kill-database")
            self.switch.kill("ovsdb-server")
        time.sleep(self.dice.random() * 0.3)
        self.bring_up()

    def kill_and_change(self):
        """A policy that is changed while the switch is dead is the one that it comes up with."""
        number = self.dice.randrange(len(self.policies))
        self.journal.did("kill-switch", f"and policy {number}")
        with self.world.changing() as commit:
            self.world.policy = self.policies[number]
            commit()
            self.kills.append(time.monotonic())
            self.switch.kill("cordon-switchd")
            path = f"{self.switch.directory}/policy.yaml"
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.world.policy.document())
            self.switch.cordon("policy", "apply", path, "-m", "while the switch is dead", "--no-wait")
            self.bring_up()
            self._wait_newest_policy()

    def upgrade(self):
        self.journal.did("upgrade")
        self.switch.cordon("down", "--keep-connections")
        self.bring_up()

    def bring_up(self):
        self.switch.up()
        # Until it has joined the database, nothing that is asked for is done.
        wait_for(lambda: "database" not in str(self.switch.status()["warnings"]), WAIT_SECONDS, "the database joined")
        self._wait_newest_policy()
        self.journal.write(f"up, process {self.switch.pid()}")

    def _wait_newest_policy(self):
        newest = max((row["revision"] for row in self.switch.json("policy", "history")), default=0)
        wait_for(lambda: self.switch.status()["policy_revision"] == newest, WAIT_SECONDS, f"policy revision {newest}")

    def everything_once(self):
        """What a process needs for an action it gets when it is first done, and keeps."""
        self.journal.write("everything once")
        for name in ("k0", "g0"):
            self.world.unplug(name)
            self.world.plug(name)
        for action in (self.reboot_guest, self.kill_database, self.apply_policy, self.flush, self.sinks.fail,
                       self.sinks.come_and_go, self.sinks.come_and_go):
            action()

    def check_alive(self):
        pid = self.switch.pid()
        assert pid and process_is_alive(pid), "the switch has ended by itself"
