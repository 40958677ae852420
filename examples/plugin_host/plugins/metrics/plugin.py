"""Statistics over the length of the verses."""

import statistics

lengths: list = []


def begin() -> None:
    lengths.clear()


def handle(rows: str) -> dict:
    here = [len(row.split("\t")[3]) for row in rows.splitlines()]
    lengths.extend(here)
    return figures(here)


def summary() -> dict:
    return figures(lengths)


def figures(values: list) -> dict:
    return {
        "count": len(values),
        "mean": statistics.fmean(values),
        "median": float(statistics.median(values)),
        "deviation": statistics.pstdev(values),
    }
