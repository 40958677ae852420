#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "embedded.hpp"

// The vectors of test/golden/etf, written by a real OTP. "copy" in tokens.txt: what an OTP would write itself.

using namespace embedded;

namespace {

const std::filesystem::path kFolder = std::filesystem::path(PYW_SOURCE_DIR) / "test/golden/etf";

std::string file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE_MESSAGE(in, path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Vector {
  std::string name, how, tokens, bytes;
  /// Holds a list in the form that only Erlang chooses, or an atom that becomes None although None becomes another one.
  bool changes_form() const {
    return bytes.find('\x6b') != std::string::npos || bytes.find("\x09undefined") != std::string::npos || bytes.find("\x03nil") != std::string::npos;
  }
};

std::vector<Vector> vectors() {
  std::vector<Vector> found;
  std::ifstream in(kFolder / "tokens.txt");
  for (std::string line; std::getline(in, line);) {
    Vector v;
    std::istringstream columns(line);
    std::getline(columns, v.name, '\t');
    std::getline(columns, v.how, '\t');
    std::getline(columns, v.tokens);
    v.bytes = file(kFolder / (v.name + ".etf"));
    found.push_back(std::move(v));
  }
  return found;
}

/// Decodes as losslessly as the options allow.
Python lossless() {
  TypeOptions options;
  options.atoms = TypeOptions::Atoms::atom;
  options.binaries = TypeOptions::Binaries::bytes;
  return Python(options);
}

Ref read(Python& python, const std::string& bytes, BadTerm& bad) {
  pyw::etf::Reader in(pyw::bytes_of(bytes), python.codec->options().limits);
  if (!in.version()) {
    bad = {BadTerm::Kind::term, "", in.error()};
    return {};
  }
  Ref value = python.codec->decode(python.gil, in, "value", bad);
  if (value && !in.at_end()) bad = {BadTerm::Kind::term, "", "bytes follow the term"};
  return bad ? Ref() : std::move(value);
}

}  // namespace

TEST_CASE("golden: what Erlang wrote comes back as Erlang would write it, the rest as an equal value or refused") {
  Python python = lossless();
  std::size_t same = 0;
  for (const Vector& v : vectors()) {
    CAPTURE(v.name);
    BadTerm bad;
    const Ref value = read(python, v.bytes, bad);
    CHECK(!PyErr_Occurred());
    PyErr_Clear();
    // Its keys 1 and 1.0 differ in Erlang alone.
    CHECK_MESSAGE(!value == (v.how == "refuses" || v.name == "map_key_kinds"), bad.path, ": ", bad.why);
    if (!value) continue;
    const std::string again = python.encode(value);
    if (v.how == "copy" && !v.changes_form()) CHECK(again == v.bytes);
    same += again == v.bytes;
    const Ref second = python.decode(pyw::bytes_of(again));
    CHECK(python.encode(second) == again);
  }
  CHECK(same > 100);
}

TEST_CASE("golden: no beginning of a vector and no wrong byte does harm") {
  Python python;
  for (const Vector& v : vectors()) {
    CAPTURE(v.name);
    if (v.bytes.size() > 3000) continue;
    for (std::size_t size = 0; size < v.bytes.size(); ++size) {
      BadTerm bad;
      CHECK(!read(python, v.bytes.substr(0, size), bad));
      CHECK(!PyErr_Occurred());
    }
    for (std::size_t i = 1; i < std::min<std::size_t>(v.bytes.size(), 200); ++i)
      for (const int flip : {1, 2, 0x10, 0x80}) {
        std::string wrong = v.bytes;
        wrong[i] = static_cast<char>(wrong[i] ^ flip);
        BadTerm bad;
        const Ref value = read(python, wrong, bad);
        CHECK(!PyErr_Occurred());
        if (value) (void)python.encode(value, bad);
        PyErr_Clear();
      }
  }
}
