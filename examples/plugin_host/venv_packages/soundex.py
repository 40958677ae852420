"""American Soundex, the module that `run` installs into the virtual environment of the tenant ``phonetics``."""

from functools import lru_cache

DIGITS = {letter: digit for digit, letters in enumerate(["bfpv", "cgjkqsxz", "dt", "l", "mn", "r"], 1) for letter in letters}


@lru_cache(maxsize=4096)
def code(name: str) -> str:
    """``Robert`` and ``Rupert`` are both ``R163``: the first letter, then three digits for the consonants."""
    name = name.lower()
    digits, last = [], DIGITS.get(name[0])
    for letter in name[1:]:
        digit = DIGITS.get(letter)
        if digit and digit != last:
            digits.append(str(digit))
        if letter not in "hw":  # h and w do not separate two letters of the same group
            last = digit
    return (name[0].upper() + "".join(digits) + "000")[:4]
