"""One measurement, or the question whether a loop is there; run.py starts it, in a process of its own.

    child.py SITE LOOP [ROW SECONDS]

Its last line on stdout is a JSON object: {"figures": {...}}, {"version": ...}, {"missing": why}, {"skipped": why} or
{"error": text}. It leaves with os._exit: servers, connections and a million timers need not be taken apart to be measured.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def answer(site: str, loop: str, rest: list[str]) -> dict[str, Any]:
    if site:
        sys.path.append(site)
    import loops

    try:
        if not rest:
            return {"version": loops.version(loop)}
        new_loop = loops.factory(loop)
    except loops.LoopMissing as missing:
        return {"missing": str(missing)}
    import measure
    import rows

    row, seconds = rest
    try:
        return {"figures": rows.ALL[row].measure(new_loop, float(seconds))}
    except measure.NotHere as why:
        return {"skipped": str(why)}


def main() -> None:
    try:
        result = answer(sys.argv[1], sys.argv[2], sys.argv[3:])
    except Exception as error:
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}"}
    print("\n" + json.dumps(result), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
