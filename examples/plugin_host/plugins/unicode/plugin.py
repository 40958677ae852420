"""Reads the Unicode Character Database: categories, canonical decompositions, numeric values."""

import csv
import unicodedata
from collections import Counter
from fractions import Fraction

NAME, CATEGORY, NUMERIC = 1, 2, 8
categories: Counter = Counter()


def begin() -> None:
    categories.clear()


def handle(rows: str) -> dict:
    table = list(csv.reader(rows.splitlines(), delimiter=";", quoting=csv.QUOTE_NONE))
    here = Counter(row[CATEGORY] for row in table)
    categories.update(here)
    characters = [chr(int(row[0], 16)) for row in table if not row[NAME].startswith("<")]
    decomposed = [unicodedata.normalize("NFD", character) for character in characters]
    total = sum((Fraction(row[NUMERIC]) for row in table if row[NUMERIC]), Fraction(0))
    return {
        "categories": here,
        "nfd": "".join(new for new, old in zip(decomposed, characters) if new != old),
        "numeric_total": (total.numerator, total.denominator),
    }


def summary() -> dict:
    return {"categories": categories}
