"""Counts words: how often each occurs, per call and over the whole pass."""

import re
from collections import Counter

WORD = re.compile(r"[a-z]+")
seen: Counter = Counter()


def begin() -> None:
    seen.clear()


def handle(rows: str) -> dict:
    texts = [row.split("\t")[3] for row in rows.splitlines()]
    words = Counter(word for text in texts for word in WORD.findall(text.lower()))
    seen.update(words)
    return {"verses": len(texts), **figures(words)}


def summary() -> dict:
    return figures(seen)


def figures(words: Counter) -> dict:
    ranked = sorted(words.items(), key=lambda entry: (-entry[1], entry[0]))
    return {"words": sum(words.values()), "distinct": len(words), "top": ranked[:5]}
