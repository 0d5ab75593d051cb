# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plots as SVG: lines over a quantity, both axes logarithmic, several of them on one page."""
import collections
import math

# series: {name: [(x, y)]}; a name that begins with "floor" is drawn dashed
Chart = collections.namedtuple("Chart", "title x y series")

COLOURS = ["#3b6ea5", "#c0504d", "#4f9153", "#8064a2", "#c78a2c"]
WIDTH, HEIGHT, LEFT, TOP, COLUMNS = 300, 200, 60, 50, 2
CELL_WIDTH, CELL_HEIGHT = WIDTH + LEFT + 110, HEIGHT + TOP + 50
STYLE = ("text{font:12px sans-serif;fill:#222}.s{font-size:10px;fill:#555}.grid{stroke:#ddd}.line{fill:none;stroke-width:1.8}"
         ".floor{fill:none;stroke-width:1.4;stroke-dasharray:4 3}")


class Axis:
    """Whole powers of ten around all values."""

    def __init__(self, values, length):
        known = [v for v in values if v > 0] or [1]
        self.low = math.floor(math.log10(min(known)) + 1e-9)
        self.high = max(math.ceil(math.log10(max(known)) - 1e-9), self.low + 1)
        self.length = length

    def at(self, value):
        return self.length * (math.log10(max(value, 10 ** self.low)) - self.low) / (self.high - self.low)

    def marks(self):
        return [10.0 ** e for e in range(self.low, self.high + 1)]


def grid(x, y, chart):
    out = [f'<text x="{WIDTH / 2}" y="-18" text-anchor="middle">{chart.title}</text>',
           f'<text x="{WIDTH / 2}" y="{HEIGHT + 34}" text-anchor="middle" class="s">{chart.x}</text>',
           f'<text x="-8" y="-6" text-anchor="end" class="s">{chart.y}</text>']
    for v in x.marks():
        out.append(f'<line x1="{x.at(v):.1f}" x2="{x.at(v):.1f}" y1="0" y2="{HEIGHT}" class="grid"/>')
        out.append(f'<text x="{x.at(v):.1f}" y="{HEIGHT + 16}" text-anchor="middle" class="s">{v:g}</text>')
    for v in y.marks():
        at = HEIGHT - y.at(v)
        out.append(f'<line x1="0" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>')
        out.append(f'<text x="-8" y="{at + 4:.1f}" text-anchor="end" class="s">{v:g}</text>')
    return out


def chart_lines(chart):
    points = [p for line in chart.series.values() for p in line]
    x, y = Axis([p[0] for p in points], WIDTH), Axis([p[1] for p in points], HEIGHT)
    out = grid(x, y, chart)
    for i, (name, line) in enumerate(chart.series.items()):
        colour, kind = COLOURS[i % len(COLOURS)], "floor" if name.startswith("floor") else "line"
        places = [(x.at(a), HEIGHT - y.at(b)) for a, b in sorted(line)]
        out.append(f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in places)}" class="{kind}" stroke="{colour}"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>' for a, b in places]
        out.append(f'<text x="{WIDTH + 8}" y="{12 + 16 * i}" class="s" style="fill:{colour}">{name}</text>')
    return out


def page(charts):
    charts = [c for c in charts if any(c.series.values())]
    rows = (len(charts) + COLUMNS - 1) // COLUMNS
    width, height = COLUMNS * CELL_WIDTH, max(rows, 1) * CELL_HEIGHT
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
           f"<style>{STYLE}</style>", '<rect width="100%" height="100%" fill="#fff"/>']
    for i, chart in enumerate(charts):
        out.append(f'<g transform="translate({i % COLUMNS * CELL_WIDTH + LEFT},{i // COLUMNS * CELL_HEIGHT + TOP})">')
        out += chart_lines(chart) + ["</g>"]
    return "\n".join(out) + "\n</svg>\n"
