"""Keeps an index of which word stands in which verse, in an SQLite database in memory."""

import re
import sqlite3

WORD = re.compile(r"[a-z]+")

TOP_TERMS = """
    SELECT term, COUNT(*) FROM posting
    WHERE verse > ? AND LENGTH(term) > 3
    GROUP BY term ORDER BY COUNT(*) DESC, term LIMIT 5
"""
WITH_BOTH = """
    SELECT COUNT(*) FROM posting a JOIN posting b ON a.verse = b.verse
    WHERE a.term = ? AND b.term = ?
"""

db = sqlite3.connect(":memory:")
db.executescript("""
    CREATE TABLE verse (id INTEGER PRIMARY KEY, book TEXT, chapter INTEGER, number INTEGER);
    CREATE TABLE posting (verse INTEGER, term TEXT, PRIMARY KEY (verse, term)) WITHOUT ROWID;
""")


def begin() -> None:
    db.executescript("DELETE FROM posting; DELETE FROM verse;")


def handle(rows: str) -> dict:
    (last,) = db.execute("SELECT COALESCE(MAX(id), 0) FROM verse").fetchone()
    verses, postings = [], []
    for verse, row in enumerate(rows.splitlines(), last + 1):
        book, chapter, number, text = row.split("\t")
        verses.append((verse, book, chapter, number))
        postings += [(verse, term) for term in sorted(set(WORD.findall(text.lower())))]
    with db:
        db.executemany("INSERT INTO verse VALUES (?, ?, ?, ?)", verses)
        db.executemany("INSERT INTO posting VALUES (?, ?)", postings)
    return {"postings": len(postings), "top": db.execute(TOP_TERMS, (last,)).fetchall()}


def summary() -> dict:
    (verses,) = db.execute("SELECT COUNT(*) FROM verse").fetchone()
    (books,) = db.execute("SELECT COUNT(DISTINCT book) FROM verse").fetchone()
    (both,) = db.execute(WITH_BOTH, ("david", "jerusalem")).fetchone()
    return {"verses": verses, "books": books, "david_and_jerusalem": both}
