// TlsRecords: where a received record ends, without asking OpenSSL.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "aio/tls_records.hpp"

using pyw::aio::TlsRecords;

namespace {

std::string record(std::size_t length, char type = 23) {
  std::string made{type, 3, 3, static_cast<char>(length >> 8), static_cast<char>(length & 0xff)};
  return made.append(length, 'x');
}

}  // namespace

TEST_CASE("tls records: the chunking of the stream never changes where records end") {
  const std::string wire = record(10) + record(0) + record(300, 22) + record(1, 21);
  for (std::size_t chunk = 1; chunk <= wire.size(); ++chunk) {
    CAPTURE(chunk);
    TlsRecords records;
    for (std::size_t at = 0; at < wire.size(); at += chunk) records.feed(wire.data() + at, std::min(chunk, wire.size() - at));
    for (std::size_t left = 1; left <= wire.size(); ++left) REQUIRE(records.has_whole(left));
    REQUIRE_FALSE(records.has_whole(0));
  }
}

TEST_CASE("tls records: part of a record is none") {
  const std::string whole = record(100), next = record(50);
  for (std::size_t part = 0; part < next.size(); ++part) {
    CAPTURE(part);
    TlsRecords records;
    records.feed(whole.data(), whole.size());
    records.feed(next.data(), part);
    REQUIRE_FALSE(records.has_whole(part));  // OpenSSL has taken the first
    REQUIRE(records.has_whole(part + 1));    // a byte of the first is left
  }
}

TEST_CASE("tls records: of what is no TLS nothing is known, and OpenSSL is always asked") {
  for (const std::string& strange : {std::string("GET / HTTP/1.1\r\n"), record(10, 25), std::string{23, 2, 3, 0, 1, 0}, record(0x4900)}) {
    TlsRecords records;
    records.feed(strange.data(), strange.size());
    CHECK(records.has_whole(0));
    const std::string more = record(10);
    records.feed(more.data(), more.size());
    CHECK(records.has_whole(0));
  }
}

TEST_CASE("tls records: the longest record of TLS 1.2 is one") {
  const std::string wire = record((16u << 10) + 2048);
  TlsRecords records;
  records.feed(wire.data(), wire.size() - 1);
  CHECK_FALSE(records.has_whole(wire.size() - 1));
  records.feed(wire.data() + wire.size() - 1, 1);
  CHECK(records.has_whole(wire.size()));
}
