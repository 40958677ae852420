"""From rounds to a table, ratios and a summary. Pure: nothing here measures or starts anything.

A ratio is cost against cost, of medians of one run: below 1, the first is the cheaper. Rates are turned over for it.
The subject is the loop that the ratios are about: ours, or the last one when ours is not measured.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

from measure import HIGHER_IS_BETTER, UNITS, Figures, Row


@dataclass
class Result:
    """What the rounds of one row gave, per loop; and why there is nothing, where there is nothing."""

    row: Row
    rounds: dict[str, list[Figures]]
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def numbers(self, loop: str, figure: str) -> list[float]:
        if loop in self.failures:
            return []
        return [figures[figure] for figures in self.rounds[loop] if figure in figures]

    def median(self, loop: str, figure: str) -> float | None:
        numbers = self.numbers(loop, figure)
        return statistics.median(numbers) if numbers else None

    def spread(self, loop: str, figure: str) -> float:
        """Half the distance between the lowest and the highest round, as a part of the median."""
        numbers = self.numbers(loop, figure)
        middle = statistics.median(numbers) if numbers else 0
        return (max(numbers) - min(numbers)) / 2 / middle if middle else 0.0

    def ratio(self, loop: str, other: str, figure: str) -> float | None:
        """Cost of one against the cost of the other; None when one has none, or costs nothing."""
        mine, theirs = self.median(loop, figure), self.median(other, figure)
        if mine is None or theirs is None or mine <= 0 or theirs <= 0:
            return None
        return theirs / mine if figure in HIGHER_IS_BETTER else mine / theirs

    def figures(self) -> list[str]:
        """Gates first, then what informs."""
        seen = {figure for rounds in self.rounds.values() for figures in rounds for figure in figures}
        gates = [figure for figure in self.row.gates if figure in seen]
        return gates + [figure for figure in UNITS if figure in seen and figure not in gates]


@dataclass(frozen=True)
class Ratio:
    """One bar of the plot: a gated figure of a row, the subject against another loop."""

    label: str
    against: dict[str, float]


def subject(loops: list[str]) -> str:
    return "erlang" if "erlang" in loops else loops[-1]


def others(loops: list[str]) -> list[str]:
    return [loop for loop in loops if loop != subject(loops)]


def headline(about: dict[str, Any]) -> str:
    loops = ", ".join(f"{name} {version}" for name, version in about["loops"].items())
    machine = about["machine"]
    return (f"CPython {about['python']} in {about['host']}; {loops}; {about['rounds']} rounds of {about['seconds']:g} s; "
            f"{machine['cpu']}, {machine['cores']} cores; commit {about['commit']}")


def short(number: float | None) -> str:
    if number is None:
        return "-"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}" if number else "0"


def best_other(result: Result, loops: list[str], figure: str) -> tuple[str, float] | None:
    """The cheapest of the other loops, and the subject's cost against it."""
    found = [(other, ratio) for other in others(loops)
             if (ratio := result.ratio(subject(loops), other, figure)) is not None]
    return max(found, key=lambda pair: pair[1]) if found else None


def table(results: list[Result], loops: list[str]) -> str:
    """Gated figures stand beside the row's name; the lines below them inform."""
    mine = subject(loops)
    head = ["row", "figure", *loops, "spread", *(f"{mine}/{other}" for other in others(loops)), "/best"]
    lines: list[list[str]] = []
    for result in results:
        figures = result.figures() or list(result.row.gates)
        for number, figure in enumerate(figures):
            gate = figure in result.row.gates
            broken = {loop for loop, got in result.failures.items() if gate and "skipped" not in got}
            cells = ["failed" if loop in broken else short(result.median(loop, figure)) for loop in loops]
            line = [result.row.name if number == 0 else "", UNITS[figure], *cells,
                    f"{max(result.spread(loop, figure) for loop in loops):.0%}"]
            if gate:
                ratios = [result.ratio(mine, other, figure) for other in others(loops)]
                best = best_other(result, loops, figure)
                line += ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
                line.append(f"{best[1]:.2f}" if best else "-")
            lines.append(line + [""] * (len(head) - len(line)))
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    aligned = ["  ".join(cell.ljust(width) if column < 2 else cell.rjust(width)
                         for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in [head, *lines]]
    return "\n".join([aligned[0], "-" * sum(widths, 2 * len(widths) - 2), *aligned[1:]])


def gated(results: list[Result]) -> list[tuple[Result, str]]:
    return [(result, figure) for result in results for figure in result.row.gates]


def geometric_mean(numbers: list[float]) -> float:
    return math.exp(sum(map(math.log, numbers)) / len(numbers))


def summary(results: list[Result], loops: list[str]) -> str:
    mine = subject(loops)
    lines = [""]
    for other in others(loops):
        ratios = [ratio for result, figure in gated(results) if (ratio := result.ratio(mine, other, figure)) is not None]
        if ratios:
            better = sum(ratio < 1 for ratio in ratios)
            lines.append(f"{mine} against {other}: geometric mean {geometric_mean(ratios):.3f} of {len(ratios)} figures, "
                         f"{better} of them below 1")
        walls = [ratio for result, figure in gated(results) if figure == "cpu_us"
                 for wall in ("per_s", "wall_us") if (ratio := result.ratio(mine, other, wall)) is not None]
        if walls:
            lines.append(f"{'':{len(mine)}} by wall time, where that is known: {geometric_mean(walls):.3f}")
    behind = []
    for result, figure in gated(results):
        best = best_other(result, loops, figure)
        if best and best[1] > 1:
            noise = result.spread(mine, figure) + result.spread(best[0], figure)
            behind.append((best[1], f"  {best[1]:.2f} x {best[0]:<8} {result.row.name}, {UNITS[figure]}"
                           + ("  (within the spreads)" if best[1] - 1 <= noise else "")))
    if len(loops) > 1:
        lines.append(f"{mine} is not the best in {len(behind)} figures" + (":" if behind else ""))
        lines += [text for _, text in sorted(behind, reverse=True)]
    for loop in loops:
        lines += notes(results, loop)
    return "\n".join(lines)


def notes(results: list[Result], loop: str) -> list[str]:
    """What must not be lost in a mean: timers that fire early, a loop that wakes up for nothing, failures."""
    lines = []
    for result in results:
        if result.median(loop, "early_percent"):
            lines.append(f"{loop}: {short(result.median(loop, 'early_percent'))} % of the timers of {result.row.name} fired early")
        if result.median(loop, "wakeups_per_s"):
            lines.append(f"{loop}: {short(result.median(loop, 'wakeups_per_s'))} wake-ups a second without work ({result.row.name})")
        if loop in result.failures:
            got = result.failures[loop]
            why = f"left out: {got['skipped']}" if "skipped" in got else f"failed: {got.get('error') or got.get('missing')}"
            lines.append(f"{loop}: {result.row.name} {why}")
    return lines


def ratios(results: list[Result], loops: list[str]) -> list[Ratio]:
    mine = subject(loops)
    found = []
    for result, figure in gated(results):
        against = {other: ratio for other in others(loops) if (ratio := result.ratio(mine, other, figure)) is not None}
        label = result.row.name if len(result.row.gates) == 1 else f"{result.row.name}, {UNITS[figure]}"
        found.append(Ratio(label, against))
    return found


def as_json(results: list[Result]) -> list[dict[str, Any]]:
    return [{
        "row": result.row.name,
        "question": result.row.question,
        "gates": list(result.row.gates),
        "median": {loop: {figure: result.median(loop, figure) for figure in result.figures()} for loop in result.rounds},
        "spread": {loop: {figure: round(result.spread(loop, figure), 4) for figure in result.figures()} for loop in result.rounds},
        "rounds": result.rounds,
        "failures": result.failures,
    } for result in results]
