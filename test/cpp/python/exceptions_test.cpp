#include "embedded.hpp"

using namespace embedded;

TEST_CASE("exceptions: nothing pending, nothing written") {
  Python python;
  pyw::etf::Writer out(1000);
  CHECK(!pyw::write_exception(python.gil, *python.codec, out));
  CHECK(out.size() == 0);
}

TEST_CASE("exceptions: every key is there, frames outermost first") {
  Python python;
  python.run("def inner():\n  return {}['k']\ndef outer():\n  inner()");
  const Ref error = python.raised("outer()");
  CHECK(python.says(error, "sorted(it) == ['cause', 'context', 'formatted', 'message', 'module', 'notes', 'traceback', 'type']"));
  CHECK(python.says(error, "(it['type'], it['module'], it['message']) == ('KeyError', 'builtins', \"'k'\")"));
  CHECK(python.says(error, "[(f['file'], f['line'], f['function']) for f in it['traceback']] == "
                           "[('<string>', 1, '<module>'), ('<string>', 4, 'outer'), ('<string>', 2, 'inner')]"));
  CHECK(python.says(error, "(it['cause'], it['context'], it['notes']) == (None, None, [])"));
  CHECK(python.says(error, "it['formatted'].startswith('Traceback (most recent call last):\\n') and it['formatted'].endswith(\"KeyError: 'k'\\n\")"));
}

TEST_CASE("exceptions: the source line stands with its frame") {
  Python python;
  python.run("import tempfile, os, sys\nd = tempfile.mkdtemp()\nopen(d + '/broken_mod.py', 'w').write('def f():\\n    return 1 / 0  # here\\n')\n"
             "sys.path.insert(0, d)\nimport broken_mod\nsys.path.remove(d)");
  const Ref error = python.raised("broken_mod.f()");
  CHECK(python.says(error, "it['traceback'][-1]['source'] == 'return 1 / 0  # here' and it['traceback'][0]['source'] == ''"));
  python.run("import shutil; shutil.rmtree(d)");
}

TEST_CASE("exceptions: what C code raises is normalised") {
  Python python;
  PyErr_SetString(PyExc_KeyError, "k");
  CHECK(python.says(python.written(), "it['message'] == \"'k'\" and it['traceback'] == []"));
  PyErr_SetObject(PyExc_OSError, python.eval("(2, 'No such file')").get());
  CHECK(python.says(python.written(), "it['type'] == 'FileNotFoundError' and it['message'] == '[Errno 2] No such file'"));
  PyErr_SetNone(PyExc_StopIteration);
  CHECK(python.says(python.written(), "it['type'] == 'StopIteration' and it['message'] == ''"));
}

TEST_CASE("exceptions: causes and contexts, and the ones that Python hides") {
  Python python;
  CHECK(python.says(python.raised("try:\n  1/0\nexcept Exception as e:\n  raise ValueError('v') from e"),
                    "it['cause']['type'] == 'ZeroDivisionError' and it['context'] is None and it['cause']['traceback'][0]['line'] == 2"
                    " and it['cause']['formatted'] == 'ZeroDivisionError: division by zero\\n'"));
  CHECK(python.says(python.raised("try:\n  1/0\nexcept Exception:\n  raise ValueError('v')"),
                    "it['cause'] is None and it['context']['type'] == 'ZeroDivisionError' and 'During handling' in it['formatted']"));
  CHECK(python.says(python.raised("try:\n  1/0\nexcept Exception:\n  raise ValueError('v') from None"), "it['cause'] is None and it['context'] is None"));
}

TEST_CASE("exceptions: chains that are loops, and long ones, end") {
  Python python;
  CHECK(python.says(python.raised("a = ValueError('a')\nb = ValueError('b')\na.__cause__ = b\nb.__cause__ = a\nraise a"),
                    "it['cause']['message'] == 'b' and it['cause']['cause'] is None"));
  CHECK(python.says(python.raised("e = None\nfor i in range(50):\n  n = ValueError(i)\n  n.__cause__ = e\n  e = n\nraise e"),
                    "(depth := lambda e: 0 if e is None else 1 + depth(e['cause']))(it) == 11"));
}

TEST_CASE("exceptions: classes of users") {
  Python python;
  CHECK(python.says(python.raised("class Outer:\n  class Mine(Exception): pass\nOuter.Mine.__module__ = 'app.errors'\nraise Outer.Mine('x', 1)"),
                    "(it['type'], it['module'], it['message']) == ('Outer.Mine', 'app.errors', \"('x', 1)\")"));
  CHECK(python.says(python.raised("class E(Exception):\n  def __str__(self): raise KeyError(1)\nraise E"),
                    "it['message'] == '<exception str() failed>' and it['type'] == 'E' and 'E' in it['formatted']"));
  CHECK(python.says(python.raised("class E(Exception):\n  def __getattribute__(self, n): raise KeyError(1)\nraise E('x')"), "it['type'] == 'E'"));
}

TEST_CASE("exceptions: those that end other programs are ordinary ones") {
  Python python;
  CHECK(python.says(python.raised("raise SystemExit(3)"), "it['type'] == 'SystemExit' and it['message'] == '3'"));
  CHECK(python.says(python.raised("raise KeyboardInterrupt"), "it['type'] == 'KeyboardInterrupt' and it['message'] == ''"));
  CHECK(python.says(python.raised("raise MemoryError"), "it['type'] == 'MemoryError'"));
  CHECK(python.says(python.raised("raise GeneratorExit"), "it['type'] == 'GeneratorExit'"));
  PyErr_NoMemory();
  CHECK(python.says(python.written(), "it['type'] == 'MemoryError'"));
}

TEST_CASE("exceptions: endless recursion is cut in the middle") {
  Python python;
  const Ref error = python.raised("def f(n): return f(n + 1)\nf(0)");
  CHECK(python.says(error, "it['type'] == 'RecursionError' and len(it['traceback']) == 100"));
  CHECK(python.says(error, "it['traceback'][0]['function'] == '<module>' and it['traceback'][-1]['function'] == 'f'"));
  CHECK(python.says(error, "'more frames' in it['traceback'][50]['function'] and it['traceback'][50]['file'] == ''"));
}

TEST_CASE("exceptions: a syntax error shows the line") {
  Python python;
  const Ref error = python.raised("compile('a = (1 +', '<eval>', 'exec')");
  CHECK(python.says(error, "it['type'] == 'SyntaxError' and 'a = (1 +' in it['formatted'] and '<eval>' in it['formatted']"));
}

TEST_CASE("exceptions: notes and groups, where Python has them") {
  Python python;
  if (python.says(python.eval("None"), "hasattr(Exception, 'add_note')")) {
    CHECK(python.says(python.raised("e = ValueError(1)\ne.add_note('look')\ne.add_note('here')\nraise e"),
                      "it['notes'] == ['look', 'here'] and 'look\\nhere' in it['formatted']"));
    CHECK(python.says(python.raised("raise ExceptionGroup('both', [ValueError(1), KeyError(2)])"),
                      "it['message'].startswith('both') and 'ValueError: 1' in it['formatted'] and 'KeyError: 2' in it['formatted']"));
  }
  CHECK(python.says(python.raised("e = ValueError(1)\ne.__notes__ = [1, 'x', '\\ud800']\nraise e"), "it['notes'] == ['', 'x', '\\\\ud800']"));
  CHECK(python.says(python.raised("e = ValueError(1)\ne.__notes__ = 7\nraise e"), "it['notes'] == []"));
}

TEST_CASE("exceptions: long and odd messages") {
  Python python;
  CHECK(python.says(python.raised("raise ValueError('é' * 100000)"), "len(it['message'].encode()) <= 65536 and set(it['message']) == {'é'}"));
  CHECK(python.says(python.raised("raise ValueError('a\\ud800b')"), "it['message'] == 'a\\\\ud800b'"));
  CHECK(python.says(python.raised("raise ValueError('x' * 10_000_000)"), "len(it['formatted']) <= 262144 and len(it['message']) == 65536"));
}

TEST_CASE("exceptions: a broken traceback module costs the formatted text its frames, nothing else") {
  Python python;
  python.run("import traceback\nsaved = traceback.format_exception\ndel traceback.format_exception");
  CHECK(python.says(python.raised("1/0"), "it['formatted'] == 'ZeroDivisionError: division by zero\\n' and len(it['traceback']) == 1"));
  python.run("traceback.format_exception = saved");
}
