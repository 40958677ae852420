"""Groups names that sound alike. ``soundex`` is installed in this tenant's own virtual environment only."""

import re
import sys
from collections import Counter

import soundex

NAME = re.compile(r"\b[A-Z][a-z]+\b")
codes: Counter = Counter()


def begin() -> None:
    codes.clear()


def handle(rows: str) -> dict:
    names = [name for row in rows.splitlines() for name in NAME.findall(row.split("\t")[3])]
    here = Counter(map(soundex.code, names))
    codes.update(here)
    return {"names": len(names), "codes": here}


def summary() -> dict:
    return {"codes": codes}


def environment() -> dict:
    """Where this plugin runs: the host checks that it is the virtual environment."""
    return {"prefix": sys.prefix, "module": soundex.__file__}
