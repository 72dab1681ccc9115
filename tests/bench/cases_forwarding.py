# SPDX-License-Identifier: Apache-2.0
"""Frames of open connections, both directions together: how many are forwarded, and how soon."""

from case import CORDON, OVS_PLAIN, OVS_STATEFUL, TESTPMD_IO, Case, Figure, Round, Target

CONNECTIONS_LARGE = 1 << 21


class Forward(Case):
    """So many UDP connections, each with a frame in both directions in turn, as fast as the rings take them."""

    devices = (TESTPMD_IO, OVS_PLAIN, OVS_STATEFUL, CORDON)

    def __init__(self, name, flows, share=None, options=(), title=None, quick=False, quick_devices=None):
        self.name = name
        self.flows = flows
        self.options = list(options)
        self.quick = quick
        self.quick_devices = quick_devices
        title = title or f"64-byte frames, {flows:,} UDP connection{'s' if flows > 1 else ''}"
        targets = (Target(share, of=TESTPMD_IO),) if share else ()
        self.figures = (Figure(name, "Mpps", f"Forwarding: {title}", targets),)

    def measure(self, bench, turn):
        options = ["--flows", self.flows, "--seconds", bench.settings.seconds, "--rounds", 1, *self.options]
        with bench.session(turn.device, options,
                           connections=CONNECTIONS_LARGE if self.flows > 500000 else 1 << 20) as session:
            result = session.finish()
        measured = result["rounds"][0]
        lost = measured["a_to_b"]["lost"] + measured["b_to_a"]["lost"]
        return Round({self.name: measured["mpps"]}, session.waited, {"opened": result["opened"], "lost": lost})


class Latency(Case):
    """One way, by a time stamp in each frame, at shares of the rate at which no frame is lost: each device's own."""

    name = "latency"
    LOADS = (10, 50, 90)
    figures = (
        *(Figure(f"latency.{load}", "us, p99", f"One-way latency at {load} % of the no-drop rate, 99th percentile",
                 (Target(1, of=OVS_PLAIN, most=True),) if load == 90 else (), lower_is_better=True) for load in LOADS),
        Figure("latency.90.p50", "us, p50", "One-way latency at 90 % of the no-drop rate, median",
               lower_is_better=True),
        Figure("latency.no_drop", "Mpps", "Rate without a lost frame: 64-byte frames, 1,024 UDP connections"),
    )
    devices = (TESTPMD_IO, OVS_PLAIN, OVS_STATEFUL, CORDON)
    quick = True
    quick_devices = (OVS_PLAIN, CORDON)

    def measure(self, bench, turn):
        options = ["--mode", "latency", "--flows", 1024, "--loads", ",".join(map(str, self.LOADS)),
                   "--seconds", 1 if bench.settings.quick else bench.settings.seconds]
        with bench.session(turn.device, options) as session:
            result = session.finish()
        values = {f"latency.{row['load']}": row["p99_ns"] / 1000 for row in result["loads"]}
        values["latency.90.p50"] = next(row["p50_ns"] / 1000 for row in result["loads"] if row["load"] == 90)
        values["latency.no_drop"] = result["no_drop_mpps"]
        return Round(values, session.waited, result)


CASES = [
    Forward("forward.1", 1),
    Forward("forward.1k", 1024, 0.80, quick=True),
    Forward("forward.100k", 100000, 0.65, quick=True),
    Forward("forward.1m", 1000000, 0.55, quick=True, quick_devices=(TESTPMD_IO, OVS_STATEFUL, CORDON)),
    Forward("forward.1k.imix", 1024, options=["--size", "imix"], title="IMIX, 1,024 UDP connections"),
    Forward("forward.1k.512", 1024, options=["--size", "512"], title="512-byte frames, 1,024 UDP connections"),
    Forward("forward.1k.1514", 1024, options=["--size", "1514"],
            title="1,514-byte frames (1,518 with checksum), 1,024 UDP connections"),
    Forward("forward.1k.tcp", 1024, options=["--tcp"], title="smallest frames, 1,024 TCP connections"),
    Forward("forward.1k.ipv6", 1024, options=["--ipv6"], title="smallest IPv6 frames, 1,024 UDP connections"),
    Latency(),
]
