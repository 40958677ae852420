#include "../cpp/etf/terms.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

// What was read is written; what was written is read again with the same tokens and written again with the same bytes. On the way
// a rollback in the middle must leave no trace, and a limit must be kept.

namespace {

using terms::Token;

void must(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz_etf_roundtrip: not so: %s\n", what);
  std::abort();
}

/// Every token written twice, the first time taken back.
bool copy_with_rollbacks(terms::Reader& in, terms::Writer& out) {
  out.version();
  return in.version() && terms::walk(in, [&](const Token& token) {
    const auto mark = out.mark();
    terms::copy_token(token, out);
    out.binary_reference(pyw::bytes_of("taken back"), pyw::Lease());
    out.rollback(mark);
    terms::copy_token(token, out);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const pyw::Bytes input{reinterpret_cast<const std::byte*>(data), size};
  const pyw::etf::Limits limits{.max_depth = 100, .max_elements = 1u << 16};
  terms::Reader first(input, limits);
  terms::Writer copied(1u << 24);
  if (!terms::copy(first, copied)) return 0;
  must(!copied.overflowed(), "a copy fits");

  terms::Reader second(copied.buffer(), limits);
  terms::Writer again(1u << 24);
  must(terms::copy(second, again), "what was written is read");
  must(again.buffer() == copied.buffer(), "the chosen form is chosen again");

  terms::Reader third(input, limits);
  terms::Writer undone(1u << 24);
  must(copy_with_rollbacks(third, undone), "read again");
  must(undone.buffer() == copied.buffer() && undone.references().empty(), "a rollback leaves no trace");

  terms::Reader fourth(input, limits);
  terms::Writer tight(copied.size() - 1);
  must(terms::copy(fourth, tight), "a full writer does not stop its caller");
  must(tight.overflowed() && tight.buffer().size() < copied.size(), "the limit is kept");
  must(std::equal(tight.buffer().begin(), tight.buffer().end(), copied.buffer().begin()), "what came before the limit is there");
  return 0;
}
