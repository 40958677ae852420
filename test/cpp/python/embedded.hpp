#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "python/erlang_module.hpp"
#include "python/exceptions.hpp"

/// What the tests of python/ share. embedded_main.cpp starts the interpreter once; every test holds the GIL.
namespace embedded {

using pyw::BadTerm;
using pyw::Bytes;
using pyw::Codec;
using pyw::Ref;
using pyw::TypeOptions;

/// A codec and what it needs, and Python at hand.
struct Python {
  pyw::GilAcquire acquired;
  const pyw::Gil& gil = acquired;
  pyw::Handles handles;
  Ref names = Ref::steal(PyDict_New());  ///< the globals of run() and eval()
  std::unique_ptr<Codec> codec;

  explicit Python(TypeOptions options = {}) {
    auto made = Codec::make(gil, std::move(options), handles);
    REQUIRE_MESSAGE(made.ok(), (made.ok() ? std::string() : made.error().message));
    codec = made.take();
    run("import _erlang as erlang");
  }
  ~Python() {
    CHECK_MESSAGE(!PyErr_Occurred(), "a test left an exception pending");
    PyErr_Clear();
  }

  Ref attempt(const char* code, int start) { return Ref::steal(PyRun_String(code, start, names.get(), names.get())); }
  void run(const char* code) {
    const Ref done = attempt(code, Py_file_input);
    if (!done) PyErr_Print();
    REQUIRE_MESSAGE(done, code);
  }
  Ref eval(const char* code) {
    Ref value = attempt(code, Py_eval_input);
    if (!value) PyErr_Print();
    REQUIRE_MESSAGE(value, code);
    return value;
  }
  /// Python says so of `it`.
  bool says(const Ref& it, const char* condition) {
    PyDict_SetItemString(names.get(), "it", it.get());
    return eval(condition).get() == Py_True;
  }

  Ref decode(Bytes term, BadTerm& bad) {
    pyw::etf::Reader in(term, codec->options().limits);
    REQUIRE(in.version());
    return codec->decode(gil, in, "value", bad);
  }
  Ref decode(Bytes term) {
    BadTerm bad;
    Ref value = decode(term, bad);
    if (PyErr_Occurred()) PyErr_Print();
    REQUIRE_MESSAGE(value, bad.path, ": ", bad.why);
    return value;
  }
  /// All in one piece, with version byte. Empty: refused, `bad` says why.
  std::string encode(const Ref& value, BadTerm& bad) {
    pyw::etf::Writer out(1u << 30);
    out.version();
    return codec->encode(gil, value.get(), out, "value", bad) ? whole(out) : std::string();
  }
  std::string encode(const Ref& value) {
    BadTerm bad;
    std::string term = encode(value, bad);
    if (PyErr_Occurred()) PyErr_Print();
    REQUIRE_MESSAGE(!term.empty(), bad.path, ": ", bad.why);
    return term;
  }

  static std::string whole(pyw::etf::Writer& out) {
    std::string text;
    std::size_t at = 0;
    const std::string_view own = pyw::text_of(out.buffer());
    for (const auto& reference : out.references()) {
      text += own.substr(at, reference.after - at);
      text += pyw::text_of(reference.bytes);
      at = reference.after;
    }
    return text += own.substr(at);
  }

  /// The map of `{python, Map}` for what the code raises, as a dict.
  Ref raised(const char* code) {
    const Ref done = attempt(code, Py_file_input);
    REQUIRE_MESSAGE(!done, "the code was to raise");
    return written();
  }
  Ref written() {
    pyw::etf::Writer out(1u << 30);
    out.version();
    REQUIRE(pyw::write_exception(gil, *codec, out));
    CHECK(!PyErr_Occurred());
    const Ref term = decode(out.buffer());
    REQUIRE(says(term, "type(it) is tuple and len(it) == 2 and it[0] == 'python'"));
    return Ref::share(gil, PyTuple_GET_ITEM(term.get(), 1));
  }
};

inline Bytes operator""_b(const char* text, std::size_t size) { return pyw::bytes_of({text, size}); }

}  // namespace embedded
