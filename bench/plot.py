# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plot of the results: for each program three bars for each tool, on a logarithmic scale of milliseconds, and its floors as marks."""
import math

LEFT, WIDTH, BAR, GAP, GROUP_GAP, TOP = 120, 620, 11, 2, 26, 50
PARTS = [("checkpoint", "#3b6ea5"), ("stop", "#c0504d"), ("restore", "#4f9153")]


def svg(results, tools):
    """results: (title, {tool or "floor": {name: seconds}})"""
    every = [s for _, r in results for d in r.values() for s in d.values() if s]
    low, high = math.floor(math.log10(min(every) * 1e3)), math.ceil(math.log10(max(every) * 1e3))

    def x(seconds):
        return LEFT + WIDTH * (math.log10(max(seconds * 1e3, 10 ** low)) - low) / (high - low)

    out, y = [], TOP
    for title, result in results:
        begin = y
        for tool in tools:
            for part, colour in PARTS:
                seconds = result.get(tool, {}).get(part)
                if seconds is None:
                    continue
                out.append(f'<rect x="{LEFT}" y="{y}" width="{x(seconds) - LEFT:.1f}" height="{BAR}" fill="{colour}"'
                           f'{"" if tool == tools[0] else " fill-opacity=" + chr(34) + "0.45" + chr(34)}><title>{tool} {part}</title></rect>')
                out.append(f'<text x="{x(seconds) + 4:.1f}" y="{y + BAR - 2}" class="s">{seconds * 1e3:.3g}</text>')
                y += BAR + GAP
        out.append(f'<text x="{LEFT - 8}" y="{(begin + y) / 2 + 4:.0f}" text-anchor="end">{title}</text>')
        for name, seconds in sorted(result["floor"].items(), key=lambda item: item[1]):
            out.append(f'<line x1="{x(seconds):.1f}" x2="{x(seconds):.1f}" y1="{begin - 3}" y2="{y + 2}" class="floor"><title>{name}</title></line>')
        labels, last = [], -1e9
        for name, seconds in sorted(result["floor"].items(), key=lambda item: item[1]):
            last = max(x(seconds), last + 6 * 6)
            labels.append(f'<text x="{last:.1f}" y="{y + 10}" text-anchor="middle" class="s">{name}</text>')
        out += labels
        y += GROUP_GAP
    bottom = y - GROUP_GAP / 2
    grid = []
    for e in range(low, high + 1):
        at = LEFT + WIDTH * (e - low) / (high - low)
        grid.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 6}" y2="{bottom:.0f}" class="grid"/>')
        grid.append(f'<text x="{at:.1f}" y="{bottom + 14:.0f}" text-anchor="middle" class="s">{10 ** e:g} ms</text>')
    legend, at = [], LEFT
    for tool in tools:
        for part, colour in PARTS:
            legend.append(f'<rect x="{at}" y="14" width="{BAR}" height="{BAR}" fill="{colour}" fill-opacity="{1 if tool == tools[0] else 0.45}"/>')
            legend.append(f'<text x="{at + BAR + 4}" y="23">{tool} {part}</text>')
            at += 125
    legend.append(f'<line x1="{at}" x2="{at}" y1="12" y2="27" class="floor"/><text x="{at + 5}" y="23">a floor</text>')
    width, height = max(LEFT + WIDTH + 60, at + 70), bottom + 24
    style = ("text{font:12px sans-serif;fill:#222}.s{font-size:10px;fill:#555}.grid{stroke:#ddd}"
             ".floor{stroke:#222;stroke-width:1.5;stroke-dasharray:3 2}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">\n'
            f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(grid + out + legend) + "\n</svg>\n")
