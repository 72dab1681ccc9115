# SPDX-License-Identifier: Apache-2.0
"""Charts: one SVG file per figure, a bar for each device, readable on white and on black.

    +---------------------------------------------+
    | Forwarding: 64-byte frames, 1,024 ...       |
    | Mpps; more is better; median of 3 rounds    |
    | testpmd_io  |##################|-  13.3     |
    | ovs_plain   |############|-         9.41  0.71 of io
    | cordon      |################|-    11.1   0.83 of io
    |                           :                 |
    |                   >= 0.8 of testpmd_io      |
    +---------------------------------------------+

The thin line at a bar's end reaches from the least round to the most.  The dashed line is the target.
"""

import glob
import os
from xml.sax.saxutils import escape

from case import CORDON, DEVICE_NAMES, TESTPMD_IO
from measure import number_text

WIDTH = 720
BARS_LEFT, BARS_RIGHT = 116, 560  # Right of it is room for numbers.
BARS_TOP, BAR_STEP, BAR_HEIGHT = 68, 32, 20
TARGET_HEIGHT = 18

STYLE = """\
svg { font-family: system-ui, sans-serif; font-size: 13px; background: #ffffff; }
.ground { fill: #ffffff; }
text { fill: #1f2328; stroke: #ffffff; stroke-width: 4px; paint-order: stroke; }
.title { font-size: 15px; font-weight: 600; }
.small { fill: #59636e; font-size: 12px; } .bar { fill: #9aa4af; } .cordon { fill: #0969da; }
.spread { stroke: #1f2328; stroke-width: 1.5; } .axis { stroke: #818b98; }
.target { stroke: #bc4c00; stroke-width: 1.5; stroke-dasharray: 5 3; } .target-text { fill: #bc4c00; font-size: 12px; }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; } .ground { fill: #0d1117; } text { fill: #f0f6fc; stroke: #0d1117; }
.small { fill: #9198a1; } .bar { fill: #656c76; } .cordon { fill: #4493f8; } .spread { stroke: #f0f6fc; }
.axis { stroke: #656c76; } .target { stroke: #f0883e; } .target-text { fill: #f0883e; } }"""


class Scale:
    """From a figure's values to places on the page."""

    def __init__(self, largest):
        self.pixels = (BARS_RIGHT - BARS_LEFT) / (largest or 1)

    def x(self, value):
        return round(BARS_LEFT + value * self.pixels, 1)


def text(x, y, content, css="", anchor="start"):
    return f'<text x="{x}" y="{y}" class="{css}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1, y1, x2, y2, css):
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{css}"/>'


def bar(scale, top, name, measured, limit):
    """A device's bar with its name, spread, median and share of testpmd io."""
    median = measured.median()
    middle = top + BAR_HEIGHT / 2
    yield text(BARS_LEFT - 8, middle + 5, name, anchor="end")
    yield (f'<rect x="{BARS_LEFT}" y="{top}" width="{max(0, scale.x(median) - BARS_LEFT):.1f}" height="{BAR_HEIGHT}" '
           f'class="bar{" cordon" if name == CORDON else ""}"/>')
    least, most = min(measured.values), max(measured.values)
    if most > least:
        yield line(scale.x(least), middle, scale.x(most), middle, "spread")
    label = number_text(median)
    if limit and name != TESTPMD_IO:
        label += f"  ({median / limit:.2f} of io)"
    yield text(scale.x(most) + 8, middle + 5, label)


def targets(figure, medians, scale, bottom):
    for number, target in enumerate(figure.targets):
        limit = target.limit(medians, figure.key)
        if limit is None:
            continue
        below = bottom + 14 + number * TARGET_HEIGHT
        yield line(scale.x(limit), BARS_TOP - 6, scale.x(limit), below - 11, "target")
        yield text(scale.x(limit), below, f"target {target.text()}", "target-text", "middle")


def chart(figure, measured, medians, rounds):
    """One figure as SVG.  `measured` has its devices, `medians` all figures."""
    names = [name for name in DEVICE_NAMES if name in measured]
    limits = [target.limit(medians, figure.key) for target in figure.targets]
    scale = Scale(max([max(measured[name].values) for name in names] + [limit for limit in limits if limit]))
    bottom = BARS_TOP + len(names) * BAR_STEP
    height = bottom + 12 + TARGET_HEIGHT * len(figure.targets)
    better = "less is better" if figure.lower_is_better else "more is better"
    how = f"median of {rounds} rounds" if rounds > 1 else "one round"
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
           f'viewBox="0 0 {WIDTH} {height}" role="img">')
    yield f"<title>{escape(figure.title)}</title>\n<style>\n{STYLE}\n</style>"
    yield f'<rect class="ground" width="{WIDTH}" height="{height}"/>'
    yield text(16, 26, figure.title, "title")
    yield text(16, 46, f"{figure.unit}; {better}; {how}", "small")
    yield from targets(figure, medians, scale, bottom)
    for number, name in enumerate(names):
        yield from bar(scale, BARS_TOP + number * BAR_STEP, name, measured[name], medians[figure.key].get(TESTPMD_IO))
    yield line(BARS_LEFT, BARS_TOP - 6, BARS_LEFT, bottom - 4, "axis")
    yield "</svg>"


def write_charts(directory, figures, bench):
    """DIRECTORY/<key>.svg for every figure that was measured; those of earlier runs go."""
    os.makedirs(directory, exist_ok=True)
    for path in glob.glob(os.path.join(directory, "*.svg")):
        os.unlink(path)
    medians = bench.medians()
    for figure in figures:
        if figure.key in bench.measured:
            with open(os.path.join(directory, figure.key + ".svg"), "w", encoding="utf-8") as file:
                file.write("\n".join(chart(figure, bench.measured[figure.key], medians, bench.settings.rounds)) + "\n")
