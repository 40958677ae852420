#!/usr/bin/env python3
"""Rules of the project that no compiler knows. Prints each breach as FILE:LINE: RULE: text, then

    rules: N kept, N broken

Each rule is a function from the folder of the project to the breaches it finds; test_lint.py shows every one of them a breach.

A test that must sleep because sleeping is its subject, or because nothing can announce the moment it waits for, says so on
the line or the line above:  sleep-ok: why
"""

import glob
import os
import re
import sys
from typing import Callable, Dict, Iterator, List, NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Breach(NamedTuple):
    file: str
    line: int
    text: str


def files(root: str, *patterns: str) -> Iterator[str]:
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(root, pattern), recursive=True)):
            if os.path.isfile(path) and "__pycache__" not in path:
                yield os.path.relpath(path, root)


def lines(root: str, file: str) -> List[str]:
    with open(os.path.join(root, file), encoding="utf-8", errors="replace") as source:
        return source.read().splitlines()


# What a room of worker/ may include besides itself. base <- etf <- port <- session <- python <- aio <- loop <- main, uv beside etf;
# session is pure (no uv), and the launcher stays tiny.
ROOMS = {
    "base": set(),
    "etf": {"base"},
    "uv": {"base"},
    "port": {"base", "etf", "uv"},
    "session": {"base", "etf", "port"},
    "python": {"base", "etf", "uv", "port", "session"},
    "aio": {"base", "uv", "python"},
    "loop": {"base", "etf", "uv", "port", "session", "python", "aio"},
    "launcher": {"base"},
}
# Whose headers may come from outside: Python.h not below python/, uv.h not outside uv/, loop/ and what drives them.
FOREIGN = {
    "Python.h": {"python", "aio", "loop", ""},
    "uv.h": {"uv", "aio", "loop", "python", ""},
    "ei.h": {"etf"},
    "nlohmann/json.hpp": {""},
}


def include_directions(root: str) -> Iterator[Breach]:
    """rooms of worker/ include only the rooms below them, and foreign headers only where they belong"""
    for file in files(root, "worker/**/*.hpp", "worker/**/*.cpp", "worker/**/*.h"):
        parts = file.split(os.sep)
        room = parts[1] if len(parts) > 2 else ""
        for number, line in enumerate(lines(root, file), 1):
            match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
            if not match:
                continue
            target = match.group(1)
            head = target.split("/")[0]
            if target in FOREIGN:
                if room not in FOREIGN[target]:
                    yield Breach(file, number, f"{target} does not belong in {room or 'worker'}/")
            elif "/" in target and head in ROOMS:
                if room and head != room and head not in ROOMS.get(room, set()):
                    yield Breach(file, number, f"{room}/ must not include {target}")
            elif room and line.lstrip().startswith("#") and '"' in line and ("../" in target or
                    (target == "config.hpp" and room not in {"python", "loop"})):
                yield Breach(file, number, f"{room}/ must not include {target}")


SLEEPS = {
    ".erl": r"\btimer:sleep\(|\breceive\s+after\s+[1-9]\w*\s*->",
    ".escript": r"\btimer:sleep\(|\breceive\s+after\s+[1-9]\w*\s*->",
    ".py": r"\btime\.sleep\(|\basyncio\.sleep\((?!0[,)])",
    ".cpp": r"\bu?sleep\(|\bnanosleep\(|\bsleep_(for|until)\(",
    ".hpp": r"\bu?sleep\(|\bnanosleep\(|\bsleep_(for|until)\(",
    ".sh": r"^\s*sleep\b|[;&|]\s*sleep\b",
}


def no_sleep_in_tests(root: str) -> Iterator[Breach]:
    """tests wait for events, not for time"""
    for file in files(root, "test/**/*"):
        pattern = SLEEPS.get(os.path.splitext(file)[1])
        if not pattern or file.startswith(os.path.join("test", "lint")):
            continue
        if file.startswith(os.path.join("test", "erl")) and file.endswith(".py"):
            continue  # what the Erlang tests let a worker run: the subject
        before = ""
        for number, line in enumerate(lines(root, file), 1):
            code = re.sub(r"^\s*(%|//|#).*", "", line)
            if not file.endswith(".py"):
                code = re.sub(r'"(\\.|[^"\\])*"', '""', code)  # a program in a string is the subject, not the test
            if re.search(pattern, code) and not re.search(r"sleep-ok: *\w+", before + line):
                yield Breach(file, number, line.strip())
            before = line


WORDS = [
    (r"\b(TODO|FIXME|XXX|HACK)\b", "unfinished work is not a comment"),
    (r"(?<![\w.-])/work/(main|shared)\b", "a path of one machine"),
    (r"(?<![\w/])issue #?\d+\b", "the text speaks of the project alone"),
]


def forbidden_words(root: str) -> Iterator[Breach]:
    """no unfinished-work markers, no path of one machine, no issue numbers"""
    patterns = ["*.md", "CMakeLists.txt", "rebar.config", "Makefile", ".ci/*"]
    patterns += [f"{folder}/**/*{end}" for folder in ("worker", "erl_src", "python_pkg", "test", "bench", "docs", "examples")
                 for end in (".erl", ".hrl", ".src", ".escript", ".cpp", ".hpp", ".py", ".pyi", ".md", ".sh", ".cmake", "run")]
    for file in files(root, *patterns):
        if file.startswith(os.path.join("test", "lint")):
            continue
        for number, line in enumerate(lines(root, file), 1):
            for pattern, why in WORDS:
                if re.search(pattern, line):
                    yield Breach(file, number, f"{line.strip()[:80]}  ({why})")
        if file.endswith(".md"):
            for number, line in enumerate(lines(root, file), 1):
                if ".pyenv" in line:
                    yield Breach(file, number, "a path of one machine")


def exports(root: str, module: str) -> Dict[str, set]:
    """The exported functions of one of our modules: name -> arities."""
    text = "\n".join(re.sub(r"^\s*%.*", "", line) for line in lines(root, f"erl_src/{module}.erl"))
    found: Dict[str, set] = {}
    for group in re.findall(r"-(?:export|export_type)\(\s*\[(.*?)\]\s*\)", text, re.S):
        for name, arity in re.findall(r"([a-z]\w*)\s*/\s*(\d+)", group):
            found.setdefault(name, set()).add(int(arity))
    return found


def documented_functions_exist(root: str) -> Iterator[Breach]:
    """every py_port...:name that a document or an example mentions is exported"""
    known = {os.path.splitext(os.path.basename(f))[0] for f in files(root, "erl_src/*.erl")}
    cache: Dict[str, Dict[str, set]] = {}
    for file in files(root, "*.md", "docs/**/*.md", "bench/*.md", "examples/**/*.md"):
        for number, line in enumerate(lines(root, file), 1):
            for module, name, arities in re.findall(r"\b(py_port\w*|py):([a-z]\w*)(/\d+(?:[,-]\d+)*)?", line):
                if module not in known:
                    if module == "py":
                        continue
                    yield Breach(file, number, f"there is no module {module}")
                    continue
                functions = cache.setdefault(module, exports(root, module))
                if name not in functions:
                    yield Breach(file, number, f"{module}:{name} is not exported")
                elif arities and not arity_list(arities) <= functions[name]:
                    yield Breach(file, number, f"{module}:{name}{arities} is not exported")


def arity_list(text: str) -> set:
    """"/2" is {2}, "/2,3" is {2, 3}, "/2-4" is {2, 3, 4}."""
    wanted = set()
    for part in text[1:].split(","):
        first, _, last = part.partition("-")
        wanted |= set(range(int(first), int(last or first) + 1))
    return wanted


def short_files(root: str) -> Iterator[Breach]:
    """a source file has fewer than 800 lines (about 500 is the aim)"""
    for file in files(root, "worker/**/*.cpp", "worker/**/*.hpp", "erl_src/*.erl", "python_pkg/**/*.py", "bench/*.erl"):
        count = len(lines(root, file))
        if count > 800:
            yield Breach(file, count, f"{count} lines: which second idea moved in?")


RULES: List[Callable[[str], Iterator[Breach]]] = [
    include_directions, no_sleep_in_tests, forbidden_words, documented_functions_exist, short_files]


def main() -> int:
    broken = 0
    for rule in RULES:
        found = list(rule(ROOT))
        for breach in found:
            print(f"{breach.file}:{breach.line}: {rule.__name__}: {breach.text}")
        broken += bool(found)
    print(f"rules: {len(RULES) - broken} kept, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
