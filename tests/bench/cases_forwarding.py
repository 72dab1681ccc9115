# SPDX-License-Identifier: Apache-2.0
"""How fast frames of open connections are forwarded, both directions together."""

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
]
