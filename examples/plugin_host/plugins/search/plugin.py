"""Finds "king of Babylon", "daughter of Zion" and the like with a regular expression."""

import re
from collections import Counter

TITLE = re.compile(r"\b(king|queen|son|daughter|city|land|prophet)s? of (?:the )?([A-Z][a-z]+)")
found: Counter = Counter()


def begin() -> None:
    found.clear()


def handle(rows: str) -> dict:
    hits = []
    for row in rows.splitlines():
        book, chapter, verse, text = row.split("\t")
        hits += [(f"{book} {chapter}:{verse}", role, name) for role, name in TITLE.findall(text)]
    found.update(name for _, _, name in hits)
    return {"hits": hits}


def summary() -> dict:
    return {"names": found}
