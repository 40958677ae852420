#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace pyw::aio {

/// Where the records of a received TLS stream end. OpenSSL says "not yet" with an exception, which costs more than decrypting a small message; who
/// knows that no whole record is left does not have to ask. Only the length in each record's head is looked at: no secret, no state of TLS.
/// Pure: no BIO. Threads: not synchronised.
class TlsRecords {
 public:
  /// The next received bytes.
  void feed(const char* data, std::size_t size) {
    while (size > 0 && !lost_) {
      if (missing_ == 0) {
        --size;
        ++fed_;
        head(static_cast<unsigned char>(*data++));
        continue;
      }
      const std::size_t part = std::min(size, missing_);
      data += part;
      size -= part;
      fed_ += part;
      missing_ -= part;
      if (missing_ == 0) complete_ = fed_;
    }
    fed_ += size;
  }

  /// Whether a whole record is among the last `left` bytes, or begins before them and ends there; `left` is what OpenSSL has not taken yet. Always
  /// true when the stream is not what we know as TLS: then OpenSSL has to say what it is.
  bool has_whole(std::size_t left) const { return lost_ || fed_ - left < complete_; }

 private:
  static constexpr std::size_t kHead = 5;
  static constexpr std::size_t kLongest = (16u << 10) + 2048;  ///< TLS 1.2's limit, the larger one

  void head(unsigned char byte) {
    head_[have_++] = byte;
    if (have_ < kHead) return;
    have_ = 0;
    const std::size_t length = static_cast<std::size_t>(head_[3]) << 8 | head_[4];
    lost_ = head_[0] < 20 || head_[0] > 24 || head_[1] != 3 || length > kLongest;
    missing_ = length;
    if (length == 0) complete_ = fed_;
  }

  std::uint64_t fed_ = 0;
  std::uint64_t complete_ = 0;  ///< where the last whole record ends
  std::size_t missing_ = 0;     ///< of the record under way
  std::size_t have_ = 0;        ///< of its head
  unsigned char head_[kHead] = {};
  bool lost_ = false;
};

}  // namespace pyw::aio
