#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "etf/terms.hpp"

using namespace terms;
using pyw::bytes_of;
using pyw::Lease;
using pyw::text_of;

namespace {

std::string written(const std::function<void(Writer&)>& write) {
  Writer out(1u << 20);
  write(out);
  CHECK_FALSE(out.overflowed());
  CHECK(out.size() == out.buffer().size());
  return hex(out.buffer());
}

/// The buffer with the references where they belong: what writev would send.
std::string sent(Writer& out) {
  std::string all;
  std::size_t at = 0;
  const std::string_view own = text_of(out.buffer());
  for (const Writer::Reference& reference : out.references()) {
    all += own.substr(at, reference.after - at);
    all += text_of(reference.bytes);
    at = reference.after;
  }
  return all += own.substr(at);
}

Lease counting(int& ended) {
  return Lease([](void* count) { ++*static_cast<int*>(count); }, &ended);
}

}  // namespace

TEST_CASE("writer: integers take the shortest form, on both sides of each border") {
  const auto integer = [](std::int64_t value) { return written([&](Writer& out) { out.integer(value); }); };
  CHECK(integer(0) == "6100");
  CHECK(integer(255) == "61FF");
  CHECK(integer(256) == "6200000100");
  CHECK(integer(-1) == "62FFFFFFFF");
  CHECK(integer(2147483647) == "627FFFFFFF");
  CHECK(integer(-2147483648) == "6280000000");
  CHECK(integer(2147483648) == "6E040000000080");
  CHECK(integer(-2147483649) == "6E040101000080");
  CHECK(integer(std::numeric_limits<std::int64_t>::max()) == "6E0800FFFFFFFFFFFFFF7F");
  CHECK(integer(std::numeric_limits<std::int64_t>::min()) == "6E08010000000000000080");
  CHECK(written([](Writer& out) { out.unsigned_integer(255); }) == "61FF");
  CHECK(written([](Writer& out) { out.unsigned_integer(std::uint64_t{1} << 63); }) == "6E08000000000000000080");
  CHECK(written([](Writer& out) { out.unsigned_integer(std::numeric_limits<std::uint64_t>::max()); }) == "6E0800FFFFFFFFFFFFFFFF");
}

TEST_CASE("writer: a big that is small becomes a small integer") {
  const auto big = [](bool negative, std::string_view magnitude) {
    return written([&](Writer& out) { out.big(negative, bytes_of(magnitude)); });
  };
  using namespace std::string_view_literals;
  CHECK(big(false, ""sv) == "6100");
  CHECK(big(true, "\0\0\0\0\0\0\0\0\0\0"sv) == "6100");
  CHECK(big(false, "\x07\0\0"sv) == "6107");
  CHECK(big(true, "\x01"sv) == "62FFFFFFFF");
  CHECK(big(true, "\0\0\0\0\0\0\0\x80"sv) == "6E08010000000000000080");
  CHECK(big(false, "\0\0\0\0\0\0\0\x80\0"sv) == "6E08000000000000000080");
  CHECK(big(true, "\x01\0\0\0\0\0\0\x80"sv) == "6E08010100000000000080");
  CHECK(big(false, "\x01\0\0\0\0\0\0\0\x01"sv) == "6E0900010000000000000001");
  CHECK(big(false, std::string(255, '\x01')) == "6EFF00" + hex(bytes_of(std::string(255, '\x01'))));
  CHECK(big(true, std::string(256, '\x01') + '\0') == "6F0000010001" + hex(bytes_of(std::string(256, '\x01'))));
}

TEST_CASE("writer: atoms and bodies on both sides of each border") {
  for (const std::size_t n : {0u, 1u, 255u}) {
    const std::string text(n, 'a');
    CHECK(written([&](Writer& out) { out.atom(text); }) == "77" + hex(std::array{static_cast<std::byte>(n)}) + hex(bytes_of(text)));
  }
  std::string pounds;
  for (int i = 0; i < 128; ++i) pounds += "\xC2\xA3";
  CHECK(written([&](Writer& out) { out.atom(pounds); }) == "760100" + hex(bytes_of(pounds)));
  CHECK(written([](Writer& out) { out.boolean(true); }) == "770474727565");
  CHECK(written([](Writer& out) { out.boolean(false); }) == "770566616C7365");
  for (const std::size_t n : {0u, 1u, 127u, 128u, 129u, 130u, 300u}) {
    CAPTURE(n);
    const std::string text(n, 'x');
    const std::array size{std::byte{0}, std::byte{0}, static_cast<std::byte>(n >> 8), static_cast<std::byte>(n & 255)};
    CHECK(written([&](Writer& out) { out.binary(text); }) == "6D" + hex(size) + hex(bytes_of(text)));
    CHECK(written([&](Writer& out) { out.raw(bytes_of(text)); }) == hex(bytes_of(text)));
    CHECK(written([&](Writer& out) { out.plain(bytes_of(text)); }) == hex(bytes_of(text)));
  }
}

TEST_CASE("writer: counts take the forms that Erlang gives them") {
  CHECK(written([](Writer& out) { out.tuple(0); }) == "6800");
  CHECK(written([](Writer& out) { out.tuple(255); }) == "68FF");
  CHECK(written([](Writer& out) { out.tuple(256); }) == "6900000100");
  CHECK(written([](Writer& out) { out.map(0); }) == "7400000000");
  CHECK(written([](Writer& out) { out.list(1); }) == "6C00000001");
  CHECK(written([](Writer& out) { out.nil(); }) == "6A");
  CHECK(written([](Writer& out) { out.version(); }) == "83");
}

TEST_CASE("writer: the bits of a bitstring that do not count are zero") {
  for (std::uint8_t bits = 1; bits <= 7; ++bits) {
    const std::byte left = static_cast<std::byte>(0xFF << (8 - bits));
    CHECK(written([&](Writer& out) { out.bitstring(bytes_of("\xFF\xFF"), bits); }) ==
          "4D00000002" + hex(std::array{std::byte{bits}, std::byte{0xFF}, left}));
  }
}

TEST_CASE("writer: a list of unknown length gets its count afterwards") {
  CHECK(written([](Writer& out) {
          const auto outer = out.open_list();
          out.integer(1);
          const auto inner = out.open_list();
          out.close_list(inner, 0);
          out.nil();
          out.close_list(outer, 2);
          out.nil();
        }) == "6C0000000261016A6A");
  CHECK(written([](Writer& out) {
          const auto opened = out.open_list();
          out.nil();
          out.close_list(opened, 0);  // the tail came first: the header stays, with no elements
        }) == "6C000000006A");
}

TEST_CASE("writer: the limit is exact, a token is written whole or not at all, and overflow is for ever") {
  const std::string body(200, 'b');
  const std::vector<std::function<void(Writer&)>> writes = {
      [](Writer& out) { out.version(); }, [](Writer& out) { out.integer(1); }, [](Writer& out) { out.integer(1000); },
      [](Writer& out) { out.integer(std::int64_t{1} << 40); }, [](Writer& out) { out.real(1.5); }, [](Writer& out) { out.atom("ok"); },
      [&](Writer& out) { out.binary(body); }, [&](Writer& out) { out.binary_reference(bytes_of(body), Lease()); },
      [&](Writer& out) { out.big(false, bytes_of(body)); }, [&](Writer& out) { out.bitstring(bytes_of(body), 3); },
      [](Writer& out) { out.nil(); }, [](Writer& out) { out.list(1); }, [](Writer& out) { out.tuple(300); }, [](Writer& out) { out.map(1); },
      [](Writer& out) { (void)out.open_list(); }, [&](Writer& out) { out.raw(bytes_of(body)); }};
  for (const auto& write : writes) {
    Writer measure(1u << 20);
    write(measure);
    const std::uint64_t size = measure.size();
    Writer fits(size);
    write(fits);
    CHECK_FALSE(fits.overflowed());
    CHECK(sent(fits).size() == size);
    Writer tight(size - 1);
    write(tight);
    CHECK(tight.overflowed());
    CHECK(tight.size() == size);  // one more than the limit
    CHECK(sent(tight).empty());
    tight.plain({});
    write(tight);
    CHECK(tight.overflowed());
    CHECK(sent(tight).empty());
  }
}

TEST_CASE("writer: after an overflow nothing more is written, however small") {
  Writer out(3);
  out.integer(1);
  out.integer(2);
  CHECK(out.overflowed());
  out.nil();
  CHECK(out.buffer().size() == 2);
  const auto opened = out.open_list();
  out.close_list(opened, 1);
  CHECK(out.buffer().size() == 2);
  out.clear();
  CHECK_FALSE(out.overflowed());
  out.integer(1);
  CHECK(hex(out.buffer()) == "6101");
}

TEST_CASE("writer: rollback forgets bytes, references and the overflow that came since") {
  const std::string blob(100, 'B');
  int ended = 0;
  Writer out(150);
  out.version();
  out.binary_reference(bytes_of(blob), counting(ended));
  const std::string before = sent(out);
  const std::uint64_t size = out.size();
  const auto mark = out.mark();
  out.binary_reference(bytes_of(blob), counting(ended));  // too much: the lease ends at once
  CHECK(ended == 1);
  CHECK(out.overflowed());
  const auto late = out.mark();
  out.rollback(late);
  CHECK_MESSAGE(out.overflowed(), "a mark taken after the overflow does not undo it");
  out.rollback(mark);
  CHECK_FALSE(out.overflowed());
  CHECK(out.size() == size);
  CHECK(sent(out) == before);
  out.binary_reference(bytes_of(blob).first(10), counting(ended));
  out.integer(7);
  CHECK(out.references().size() == 2);
  out.rollback(mark);
  CHECK(ended == 2);
  CHECK(sent(out) == before);
  out.integer(7);
  CHECK(sent(out) == before + "a\x07");
  out.clear();
  CHECK(ended == 3);
  CHECK(out.size() == 0);
}

TEST_CASE("writer: a reference stands where its binary would stand") {
  const std::string blob(1000, 'x');
  int ended = 0;
  {
    Writer copied(1u << 20), referred(1u << 20);
    for (Writer* out : {&copied, &referred}) {
      out->version();
      out->tuple(4);
      for (int i = 0; i < 2; ++i) out == &copied ? out->binary(blob) : out->binary_reference(bytes_of(blob), counting(ended));
      out->atom("ok");
      out == &copied ? out->binary("") : out->binary_reference({}, counting(ended));
    }
    CHECK(ended == 1);  // of nothing there is nothing to keep
    CHECK(sent(referred) == sent(copied));
    CHECK(referred.size() == copied.size());
    CHECK(referred.references().size() == 2);
  }
  CHECK(ended == 3);
}

TEST_CASE("writer: what is longer than 4 GiB has no wire form and counts as overflow") {
  if constexpr (sizeof(std::size_t) > 4) {
    const std::byte one{};
    const Bytes huge(&one, std::size_t{1} << 32);  // its length alone is looked at
    for (int which = 0; which < 3; ++which) {
      Writer out(std::numeric_limits<std::uint64_t>::max());
      const auto mark = out.mark();
      which == 0 ? out.binary(huge) : which == 1 ? out.binary_reference(huge, Lease()) : out.bitstring(huge, 1);
      CHECK(out.overflowed());
      CHECK(out.buffer().empty());
      out.rollback(mark);
      CHECK_FALSE(out.overflowed());
    }
  }
}

TEST_CASE("writer: whatever number is written is read") {
  std::mt19937_64 random(42);
  for (int i = 0; i < 20000; ++i) {
    const auto bits = random() >> (random() % 64);
    const auto value = static_cast<std::int64_t>(random() & 1 ? 0 - bits : bits);
    double real = std::bit_cast<double>(random());
    if (!std::isfinite(real)) real = 0.5;
    Writer out(100);
    out.integer(value);
    out.unsigned_integer(bits);
    out.real(real);
    Reader in(out.buffer());
    Token token;
    REQUIRE(in.next(token));
    REQUIRE(token.integer == value);
    REQUIRE(in.next(token));
    REQUIRE((token.kind == Kind::big ? bits > std::uint64_t(std::numeric_limits<std::int64_t>::max()) && hex(token.bytes).size() == 16
                                     : std::uint64_t(token.integer) == bits));
    REQUIRE(in.next(token));
    REQUIRE(std::bit_cast<std::uint64_t>(token.real) == std::bit_cast<std::uint64_t>(real));
    REQUIRE(in.at_end());
  }
}
