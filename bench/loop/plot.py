"""The ratios as horizontal bars, an SVG of a few lines. Pure: text in, text out.

The axis is logarithmic, from a tenth to ten times, and bars that would go beyond are cut there. A bar to the left is a
loop that costs less than the one it is compared with.
"""

from __future__ import annotations

import math
from html import escape

from report import Ratio, geometric_mean

LABELS, HALF, BAR, GAP, TOP = 210, 260, 8, 6, 76
EDGE = 30  # room for the number of a bar that was cut
MARKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)
BETTER = ("#1a7f5a", "#7cc4a4")
WORSE = ("#b5352c", "#e2a19b")


def place(ratio: float) -> float:
    return LABELS + EDGE + HALF + HALF * max(-1.0, min(1.0, math.log10(ratio)))


def bar(ratio: float, y: float, shade: int) -> str:
    end, middle = place(ratio), place(1)
    colour = (BETTER if ratio <= 1 else WORSE)[min(shade, 1)]
    at, anchor = (end - 3, "end") if ratio <= 1 else (end + 3, "start")
    return (f'<rect x="{min(end, middle):.1f}" y="{y:.1f}" width="{max(abs(end - middle), 0.5):.1f}" height="{BAR}" fill="{colour}"/>'
            f'<text x="{at:.1f}" y="{y + BAR - 0.5:.1f}" text-anchor="{anchor}" font-size="8">{ratio:.2f}</text>')


def svg(rows: list[Ratio], title: str) -> str:
    """Every row with one bar for each loop that it is compared with, and the geometric means at the end."""
    others: list[str] = []
    for row in rows:
        others += [other for other in row.against if other not in others and other != "before"]
    others.sort(reverse=True)  # uvloop first, in the full colour
    means = {other: geometric_mean([row.against[other] for row in rows if other in row.against]) for other in others}
    rows = [row for row in rows if any(other in row.against for other in others)] + ([Ratio("geometric mean", means)] if means else [])
    step = BAR * max(1, len(others)) + GAP
    height, width = TOP + step * len(rows) + 20, LABELS + 2 * (HALF + EDGE) + 10
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
             f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>',
             f'<text x="10" y="18" font-size="8">{escape(title)}</text>',
             f'<text x="10" y="36">Cost against {escape(" (dark) and ".join(others))}{" (light)" if len(others) > 1 else ""}: '
             f'to the left of 1 is cheaper, to the right dearer</text>']
    for mark in MARKS:
        x = place(mark)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 12}" y2="{height - 16}" stroke="{"#333" if mark == 1 else "#ddd"}"/>'
                     f'<text x="{x:.1f}" y="{TOP - 16}" text-anchor="middle" font-size="9">{mark:g}</text>')
    for number, row in enumerate(rows):
        y = TOP + step * number
        weight = ' font-weight="bold"' if row.label == "geometric mean" else ""
        parts.append(f'<text x="{LABELS - 8}" y="{y + (step - GAP) / 2 + 4:.1f}" text-anchor="end"{weight}>{escape(row.label)}</text>')
        parts += [bar(row.against[other], y + BAR * shade, shade) for shade, other in enumerate(others) if other in row.against]
    return "\n".join([*parts, "</svg>", ""])
