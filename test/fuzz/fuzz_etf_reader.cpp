#include "../cpp/etf/terms.hpp"

#include <cstdio>
#include <cstdlib>

// Any bytes, read in three ways: walked, skipped, and skipped level by level. They must agree on what is a term and where it ends;
// what a caller would reserve by the counts stays below the input's size; and no run of bytes lies outside of what was read.

namespace {

void must(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz_etf_reader: not so: %s\n", what);
  std::abort();
}

bool inside(pyw::Bytes whole, pyw::Bytes part) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

/// The first level token by token, what is below skipped.
bool shallow(terms::Reader& in) {
  terms::Token token;
  if (!in.next(token)) return false;
  for (std::uint64_t left = terms::parts(token); left > 0; --left)
    if (!in.skip()) return false;
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const pyw::Bytes input{reinterpret_cast<const std::byte*>(data), size};
  const pyw::etf::Limits limits{.max_depth = 100, .max_elements = 1u << 16};
  terms::Reader walked(input, limits), skipped(input, limits), mixed(input, limits);
  if (!walked.version()) return 0;
  must(skipped.version() && mixed.version(), "the version byte is read again");

  std::uint64_t reserved = 0;
  std::size_t before = walked.offset();
  const bool ok = terms::walk(walked, [&](const terms::Token& token) {
    reserved += terms::parts(token);
    must(walked.offset() > before, "a token takes bytes");
    must(inside(input, token.bytes) || token.kind == terms::Kind::atom, "a view of the input");
    before = walked.offset();
  });
  must(reserved <= size, "counts promise no more than there is");
  must(ok == walked.error().empty(), "a failure has words");

  pyw::Bytes encoded;
  must(skipped.skip(&encoded) == ok, "skip() takes what next() takes");
  must(shallow(mixed) == ok, "next() and skip() mix");
  if (!ok) return 0;
  must(skipped.offset() == walked.offset() && mixed.offset() == walked.offset(), "all end at one place");
  must(encoded.size() == walked.offset() - 1, "the encoded term is all of it");
  return 0;
}
