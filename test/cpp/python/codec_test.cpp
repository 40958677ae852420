#include "embedded.hpp"

using namespace embedded;

namespace {

TypeOptions options(TypeOptions::Atoms atoms, TypeOptions::Binaries binaries, std::string none = "none") {
  TypeOptions some;
  some.atoms = atoms;
  some.binaries = binaries;
  some.none = std::move(none);
  return some;
}

using Atoms = TypeOptions::Atoms;
using Binaries = TypeOptions::Binaries;

}  // namespace

TEST_CASE("codec: with the option atom, atoms are erlang.Atom, but values stay values") {
  Python python(options(Atoms::atom, Binaries::automatic));
  const auto term = "\x83\x68\x04\x77\x02ok\x77\x04true\x77\x03nil\x77\x02\xc3\xa9"_b;
  const Ref value = python.decode(term);
  CHECK(python.says(value, "it == (erlang.Atom('ok'), True, None, erlang.Atom('é'))"));
  const Ref again = python.decode(term);
  CHECK_MESSAGE(PyTuple_GET_ITEM(value.get(), 0) == PyTuple_GET_ITEM(again.get(), 0), "atoms are made once");
}

TEST_CASE("codec: the cache of atoms does not grow for ever") {
  Python python(options(Atoms::atom, Binaries::automatic));
  for (int i = 0; i < 10'000; ++i) {
    const std::string name = "atom" + std::to_string(i);
    std::string term = std::string("\x83\x77") + static_cast<char>(name.size()) + name;
    REQUIRE(python.says(python.decode(pyw::bytes_of(term)), "type(it) is erlang.Atom"));
  }
}

TEST_CASE("codec: with the option bytes, binaries are bytes, keys too") {
  Python python(options(Atoms::str, Binaries::bytes));
  CHECK(python.says(python.decode("\x83\x74\0\0\0\1\x6d\0\0\0\1k\x68\2\x77\5bytes\x6d\0\0\0\1v"_b), "it == {b'k': b'v'}"));
  CHECK(python.says(python.decode("\x83\x6d\0\0\0\0"_b), "it == b''"));
}

TEST_CASE("codec: with the option str, a binary that is not UTF-8 is refused, {bytes, B} is not") {
  Python python(options(Atoms::str, Binaries::str));
  CHECK(python.says(python.decode("\x83\x6d\0\0\0\2\xc3\xa9"_b), "it == 'é'"));
  CHECK(python.says(python.decode("\x83\x68\2\x77\5bytes\x6d\0\0\0\1\xff"_b), "it == b'\\xff'"));
  BadTerm bad;
  CHECK(!python.decode("\x83\x6c\0\0\0\2\x61\1\x6d\0\0\0\1\xff\x6a"_b, bad));
  CHECK(bad.path == "value[1]");
  CHECK(bad.why.find("UTF-8") != std::string::npos);
}

TEST_CASE("codec: None becomes the atom that the option names") {
  for (const std::string none : {"none", "nil", "undefined"}) {
    Python python(options(Atoms::str, Binaries::automatic, none));
    CHECK(python.encode(python.eval("None")) == std::string("\x83\x77") + static_cast<char>(none.size()) + none);
  }
}

TEST_CASE("codec: options that cannot be are refused") {
  pyw::GilAcquire gil;
  pyw::Handles handles;
  CHECK(!Codec::make(gil, options(Atoms::str, Binaries::bytes, "null"), handles).ok());
  TypeOptions deep;
  deep.limits.max_depth = 1'000'000;
  CHECK(!Codec::make(gil, deep, handles).ok());
}

TEST_CASE("codec: the greatest depth that may be asked for fits the stack, both ways") {
  TypeOptions deep;
  deep.limits.max_depth = Codec::kMaxDepth;
  Python python(deep);
  python.run("value = []\nfor _ in range(4094): value = [value]\nwrong = [[[value]]]");
  const std::string term = python.encode(python.eval("value"));
  CHECK(PyList_CheckExact(python.decode(pyw::bytes_of(term)).get()));
  BadTerm bad;
  CHECK(python.encode(python.eval("wrong"), bad).empty());
  CHECK(bad.why.find("deeper than 4096") != std::string::npos);
  // Through every kind of container, which have frames of their own.
  python.run("import collections, dataclasses\n@dataclasses.dataclass\nclass D:\n  x: object\n"
             "value = 1\nfor _ in range(1365): value = D({1: collections.deque([value])})\n");
  const std::string mixed = python.encode(python.eval("value"));
  CHECK(PyDict_CheckExact(python.decode(pyw::bytes_of(mixed)).get()));
}

TEST_CASE("codec: an object reference is the object itself, for its own incarnation and until it is released") {
  TypeOptions own;
  own.incarnation = 0xFFFF'FFFF'FFFF'FFF0u;  // does not fit a signed integer
  Python python(own);
  const Ref object = python.eval("object()");
  const std::uint64_t handle = python.handles.add(python.gil, Ref::share(python.gil, object.get()));
  CHECK(handle == 1);
  const std::string pid = std::string("\x58\x77\x0dnonode@nohost") + std::string(11, '\0') + '\0';
  const auto reference = [&](std::uint64_t incarnation, std::uint8_t which) {
    std::string term = std::string("\x83\x6c\0\0\0\1\x68\4\x77\7$py_ref", 17) + pid + std::string("\x6e\x08\0", 3);
    for (int i = 0; i < 8; ++i) term += static_cast<char>(incarnation >> (8 * i) & 0xFF);
    return term + '\x61' + static_cast<char>(which) + '\x6a';
  };
  const std::string good = reference(own.incarnation, 1);
  CHECK(PyList_GET_ITEM(python.decode(pyw::bytes_of(good)).get(), 0) == object.get());

  BadTerm bad;
  CHECK(!python.decode(pyw::bytes_of(reference(own.incarnation - 1, 1)), bad));
  CHECK(bad.kind == BadTerm::Kind::reference);
  CHECK(bad.path == "value[0]");
  CHECK(!python.decode(pyw::bytes_of(reference(own.incarnation, 2)), bad));
  CHECK(bad.kind == BadTerm::Kind::reference);
  CHECK(python.handles.release(python.gil, handle));
  CHECK(!python.decode(pyw::bytes_of(good), bad));
  CHECK(bad.kind == BadTerm::Kind::reference);
  CHECK(!python.decode("\x83\x68\1\x99"_b, bad));
  CHECK_MESSAGE(bad.kind == BadTerm::Kind::term, "the kind of the failure before must not stay");
}

TEST_CASE("codec: large bytes are lent, not copied, and given back once") {
  Python python;
  const Ref value = python.eval("[b'x' * 65536, 'y' * 65536, b'z' * 65535]");
  PyObject* large = PyList_GET_ITEM(value.get(), 0);
  const Py_ssize_t before = Py_REFCNT(large);
  {
    pyw::etf::Writer out(1u << 20);
    BadTerm bad;
    REQUIRE(python.codec->encode(python.gil, value.get(), out, "value", bad));
    REQUIRE(out.references().size() == 2);
    CHECK(static_cast<const void*>(out.references()[0].bytes.data()) == PyBytes_AS_STRING(large));
    CHECK(Py_REFCNT(large) == before + 1);
    out.rollback({0, 0, 0});
    CHECK(Py_REFCNT(large) == before);
  }
  CHECK(Py_REFCNT(large) == before);
}

TEST_CASE("codec: what does not fit the frame is refused, not cut") {
  Python python;
  pyw::etf::Writer out(1000);
  BadTerm bad;
  CHECK(!python.codec->encode(python.gil, python.eval("['a' * 400] * 3").get(), out, "result", bad));
  CHECK(bad.path == "result");
  CHECK(bad.why.find("frame") != std::string::npos);
  pyw::etf::Writer small(1000);
  CHECK(!python.codec->encode(python.gil, python.eval("range(10**15)").get(), small, "result", bad));
  CHECK(!python.codec->encode(python.gil, python.eval("{1: {2, 3}, 'k': 'a' * 2000}").get(), small, "result", bad));
}

TEST_CASE("codec: a failed encode leaves the writer so that it can be rolled back") {
  Python python;
  pyw::etf::Writer out(1u << 20);
  out.version();
  const auto mark = out.mark();
  BadTerm bad;
  CHECK(!python.codec->encode(python.gil, python.eval("[b'x' * 70000, {'k': [object()]}]").get(), out, "result", bad));
  CHECK(bad.path == "result[1].k[0]");
  out.rollback(mark);
  REQUIRE(python.codec->encode(python.gil, python.eval("7").get(), out, "result", bad));
  CHECK(!bad);
  CHECK(python.whole(out) == "\x83\x61\x07");
}

TEST_CASE("codec: an exception of an encoder stays pending and is not a bad term") {
  Python python;
  python.run("class C: pass\ndef bad(c): raise KeyError('mine')\nerlang.register_encoder(C, bad)");
  BadTerm bad;
  CHECK(python.encode(python.eval("[C()]"), bad).empty());
  CHECK(!bad);
  CHECK(PyErr_ExceptionMatches(PyExc_KeyError));
  PyErr_Clear();
  python.run("erlang.unregister_encoder(C)");
}

TEST_CASE("codec: texts that share a place in the cache do not become each other") {
  Python python;
  for (int round = 0; round < 2; ++round)
    for (int i = 0; i < 20'000; ++i) {
      const std::string name = std::to_string(i * 7919);
      const std::string term = std::string("\x83\x77") + static_cast<char>(name.size()) + name;
      const Ref value = python.decode(pyw::bytes_of(term));
      REQUIRE(PyUnicode_CompareWithASCIIString(value.get(), name.c_str()) == 0);
    }
}

TEST_CASE("codec: a key that comes again is the same str") {
  Python python;
  const auto term = "\x83\x74\0\0\0\1\x6d\0\0\0\3key\x61\1"_b;
  const Ref one = python.decode(term), two = python.decode(term);
  PyObject *first = nullptr, *second = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  PyDict_Next(one.get(), &at, &first, &value);
  at = 0;
  PyDict_Next(two.get(), &at, &second, &value);
  CHECK(first == second);
}

TEST_CASE("handles: ids are never used twice, and a finaliser may come back") {
  Python python;
  CHECK(python.handles.add(python.gil, python.eval("1")) == 1);
  CHECK(python.handles.release(python.gil, 1));
  CHECK(!python.handles.release(python.gil, 1));
  CHECK(python.handles.add(python.gil, python.eval("2")) == 2);
  CHECK(python.handles.find(python.gil, 1) == nullptr);
  CHECK(python.handles.size() == 1);
  python.run("gone = []\nclass C:\n  def __del__(self): gone.append(1)");
  python.handles.add(python.gil, python.eval("C()"));
  python.handles.clear(python.gil);
  CHECK(python.handles.size() == 0);
  CHECK(python.says(python.eval("gone"), "it == [1]"));
}

TEST_CASE("module: the context's options hold for term_to_binary while it is attached, and without Erlang a call says so") {
  Python python(options(Atoms::str, Binaries::automatic, "undefined"));
  REQUIRE(pyw::attach(python.gil, {.codec = python.codec.get()}).ok());
  CHECK(python.says(python.eval("erlang.term_to_binary(None)"), "it == b'\\x83w\\tundefined'"));
  REQUIRE(pyw::attach(python.gil, {}).ok());
  CHECK(python.says(python.eval("erlang.term_to_binary(None)"), "it == b'\\x83w\\x04none'"));
  const pyw::Ref module = pyw::Ref::steal(PyImport_ImportModule("_erlang"));
  CHECK_FALSE(pyw::Ref::steal(PyObject_CallMethod(module.get(), "call_op", "s(s[])O", "call", "f", Py_None)));
  CHECK(PyErr_ExceptionMatches(PyExc_RuntimeError));
  PyErr_Clear();
  CHECK(python.says(python.eval("erlang.current()"), "it is None"));
}
