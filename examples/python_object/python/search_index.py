"""An index of the words of many short texts, for ranked search (BM25)."""

import math
import re
from collections import Counter, defaultdict
from typing import DefaultDict, Dict, List, Tuple

WORD = re.compile(r"[a-z]+")


class Index:
    """Built text by text; searching is possible at any time. Lives as long as somebody has a reference to it."""

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        self._k1, self._b = k1, b
        self._texts: Dict[str, str] = {}
        self._length: Dict[str, int] = {}
        self._with_word: DefaultDict[str, Dict[str, int]] = defaultdict(dict)

    def add(self, rows: List[List[str]]) -> int:
        """Adds (key, text) pairs; the number of texts there are now."""
        for key, text in rows:
            words = Counter(WORD.findall(text.lower()))
            self._texts[key] = text
            self._length[key] = sum(words.values())
            for word, count in words.items():
                self._with_word[word][key] = count
        return len(self._texts)

    def search(self, query: str, limit: int = 5) -> List[Tuple[str, float, str]]:
        """The best texts for the words of the query: key, score, text."""
        scores: DefaultDict[str, float] = defaultdict(float)
        average = sum(self._length.values()) / max(1, len(self._length))
        for word in set(WORD.findall(query.lower())):
            found = self._with_word.get(word, {})
            weight = math.log(1 + (len(self._texts) - len(found) + 0.5) / (len(found) + 0.5))
            for key, count in found.items():
                norm = self._k1 * (1 - self._b + self._b * self._length[key] / average)
                scores[key] += weight * count * (self._k1 + 1) / (count + norm)
        best = sorted(scores, key=lambda key: (-scores[key], key))[:limit]
        return [(key, round(scores[key], 3), self._texts[key]) for key in best]

    def __len__(self) -> int:
        return len(self._texts)
