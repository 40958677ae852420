#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include "port/header.hpp"

namespace pyw::port {

/// One received frame. Owns its bytes, so it may wait in a queue while reading goes on.
class Frame {
 public:
  Frame() = default;
  /// Of one that there is no memory for no more is kept than has its header, so that whoever sent it can be answered.
  explicit Frame(std::uint32_t size) : data_(new (std::nothrow) std::byte[size]), size_(size) {
    if (data_) return;
    lost_ = true;
    size_ = std::min(size, std::uint32_t{kMostHeader});
    data_.reset(new std::byte[size_]);
  }
  Bytes bytes() const { return {data_.get(), size_}; }
  std::byte* data() { return data_.get(); }
  std::uint32_t size() const { return size_; }
  /// The payload is not all there, and good for nothing.
  bool lost() const { return lost_; }
  Bytes payload() const { return bytes().subspan(header.payload_at); }

  Header header;

 private:
  std::unique_ptr<std::byte[]> data_;  // `new`, not make_unique: a frame of 16 MB must not be zeroed first
  std::uint32_t size_ = 0;
  bool lost_ = false;
};

/// Turns an arbitrarily chunked byte stream back into frames. The caller reads into space(), says how much with filled(), and takes
/// frames until there is none. A frame larger than the buffer gets memory of its own, and the stream is read right into that; what there is
/// no memory for is read all the same and thrown away.
/// Pure: no fd, no loop, no clock, so a test can feed it one byte at a time.
/// Invariant: between calls the buffer holds at most one unfinished frame that next() has seen.
/// Threads: not synchronised. GIL: not needed.
class FrameReader {
 public:
  explicit FrameReader(std::uint64_t max_frame);
  void set_max_frame(std::uint64_t max_frame) { max_ = max_frame; }

  /// Where the next bytes of the stream belong; never empty.
  std::span<std::byte> space();
  void filled(std::size_t n);

  enum class Next { frame, need_more, broken };
  /// broken is final: framing is lost, the owner must drop the connection; error() says why.
  Next next(Frame& out);
  const Error& error() const { return error_; }

 private:
  Next finish(Frame&& frame, Frame& out);
  Next fail(Error error);
  void make_room(std::size_t wanted);

  static constexpr std::size_t kBuffer = 256u << 10;
  std::uint64_t max_;
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  Frame large_;
  std::size_t large_size_ = 0;  ///< more than large_'s if that is lost
  std::size_t large_filled_ = 0;
  bool in_large_ = false;
  bool broken_ = false;
  Error error_{};
};

}  // namespace pyw::port
