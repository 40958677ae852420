"""Every rule of lint.py is shown a breach, and something close to one that is allowed."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lint  # noqa: E402


class Tree:
    """A small project on disk; `breaches(rule)` gives the places where the rule is broken."""

    def __init__(self, files):
        self.folder = tempfile.TemporaryDirectory()
        for name, text in files.items():
            path = os.path.join(self.folder.name, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as out:
                out.write(text)

    def breaches(self, rule):
        return sorted((breach.file, breach.line) for breach in rule(self.folder.name))


class LintTest(unittest.TestCase):
    def check(self, rule, files, expected):
        tree = Tree(files)
        with tree.folder:
            self.assertEqual(expected, tree.breaches(rule))

    def test_an_include_of_a_room_above_is_found(self):
        self.check(lint.include_directions, {
            "worker/etf/reader.hpp": '#pragma once\n#include "session/session.hpp"\n#include "base/check.hpp"\n',
            "worker/session/session.cpp": '#include "port/header.hpp"\n#include "uv/handle.hpp"\n',
            "worker/main.cpp": '#include "loop/event_loop.hpp"\n',
        }, [("worker/etf/reader.hpp", 2), ("worker/session/session.cpp", 2)])

    def test_a_foreign_header_outside_its_room_is_found(self):
        self.check(lint.include_directions, {
            "worker/port/frame_reader.cpp": "#include <uv.h>\n",
            "worker/session/session.hpp": "#include <vector>\n#include <Python.h>\n",
            "worker/python/gil.hpp": "#include <Python.h>\n",
        }, [("worker/port/frame_reader.cpp", 1), ("worker/session/session.hpp", 2)])

    def test_a_sleep_in_a_test_is_found_unless_it_says_why(self):
        self.check(lint.no_sleep_in_tests, {
            "test/erl/a_SUITE.erl": "a(_) ->\n    timer:sleep(100),\n"
                                    "    %% sleep-ok: the worker sleeps, that is the case\n    timer:sleep(5),\n"
                                    "    py_port:call(C, time, sleep, [1]).\n",
            "test/erl/b_SUITE.erl": "b(_) -> receive after 10 -> ok end.\nc(_) -> receive X -> X after 10 -> no end.\n",
            "test/erl/data/slow.py": "import time\ntime.sleep(600)\n",
            "test/python/inside/test_x.py": "import time\ntime.sleep(1)\ntime.sleep(2)  # sleep-ok: subject\n",
            "test/cpp/base/x_test.cpp": "  std::this_thread::sleep_for(1ms);\n// no sleep_for( here\n"
                                      'start("while True: time.sleep(9)");\n',
        }, [("test/cpp/base/x_test.cpp", 1), ("test/erl/a_SUITE.erl", 2), ("test/erl/b_SUITE.erl", 1),
            ("test/python/inside/test_x.py", 2)])

    def test_a_marker_without_a_reason_does_not_count(self):
        self.check(lint.no_sleep_in_tests, {"test/erl/a_SUITE.erl": "timer:sleep(1), %% sleep-ok:\n"},
                   [("test/erl/a_SUITE.erl", 1)])

    def test_forbidden_words_are_found(self):
        self.check(lint.forbidden_words, {
            "erl_src/a.erl": "%% TODO: finish\n%% todos are fine\n",
            "docs/x.md": "see issue 12\nsee erlang/otp#11052\n~/.pyenv/versions\n",
        }, [("docs/x.md", 1), ("docs/x.md", 3), ("erl_src/a.erl", 1)])

    def test_a_documented_function_that_does_not_exist_is_found(self):
        self.check(lint.documented_functions_exist, {
            "erl_src/py_port.erl": "-module(py_port).\n-export([call/4,\n         call/5]).\n%% -export([gone/1]).\n",
            "README.md": "`py_port:call/4`, `py_port:call/4,5` and py_port:call(C, math, sqrt, [1])\n"
                         "`py_port:gone/1`\n`py_port:call/6`\npy_port_nowhere:x()\n",
        }, [("README.md", 2), ("README.md", 3), ("README.md", 4)])

    def test_a_very_long_file_is_found(self):
        self.check(lint.short_files, {"worker/base/x.cpp": "\n" * 801, "worker/base/y.cpp": "\n" * 500},
                   [("worker/base/x.cpp", 801)])


if __name__ == "__main__":
    unittest.main()
