#include "port/frame_reader.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace pyw::port {
namespace {
constexpr std::size_t kLength = 4;
}

FrameReader::FrameReader(std::uint64_t max_frame) : max_(max_frame), buffer_(new std::byte[kBuffer]) {}

std::span<std::byte> FrameReader::space() {
  if (in_large_ && large_filled_ < large_.size()) return {large_.data() + large_filled_, large_.size() - large_filled_};
  if (in_large_) return {buffer_.get(), std::min(kBuffer, large_size_ - large_filled_)};
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ == kBuffer) make_room(kBuffer);
  return {buffer_.get() + end_, kBuffer - end_};
}

void FrameReader::make_room(std::size_t wanted) {
  if (begin_ + wanted <= kBuffer) return;
  std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
}

void FrameReader::filled(std::size_t n) { (in_large_ ? large_filled_ : end_) += n; }

FrameReader::Next FrameReader::next(Frame& out) {
  if (broken_) return Next::broken;
  if (in_large_) {
    if (large_filled_ < large_size_) return Next::need_more;
    in_large_ = false;
    return finish(std::move(large_), out);
  }
  const std::size_t have = end_ - begin_;
  if (have < kLength) {
    make_room(kLength);
    return Next::need_more;
  }
  const std::byte* at = buffer_.get() + begin_;
  const std::uint64_t length = get_be(at, kLength);
  // Checked on the length alone: four bytes must not make us reserve gigabytes.
  if (length < kShortHeader || length > max_ + kHeaderSpace)
    return fail({Errc::bad_frame, "a frame of " + std::to_string(length) + " bytes is not allowed"});
  const std::size_t size = static_cast<std::size_t>(length);
  if (have >= kLength + size) {
    Frame frame(static_cast<std::uint32_t>(size));
    std::memcpy(frame.data(), at + kLength, frame.size());
    begin_ += kLength + size;
    return finish(std::move(frame), out);
  }
  if (kLength + size > kBuffer) {
    large_ = Frame(static_cast<std::uint32_t>(size));
    large_size_ = size;
    large_filled_ = have - kLength;
    std::memcpy(large_.data(), at + kLength, std::min<std::size_t>(large_filled_, large_.size()));
    begin_ = end_ = 0;
    in_large_ = true;
  } else {
    make_room(kLength + size);
  }
  return Next::need_more;
}

FrameReader::Next FrameReader::finish(Frame&& frame, Frame& out) {
  auto header = parse_header(frame.bytes());
  if (!header) return fail(header.error());
  frame.header = header.take();
  out = std::move(frame);
  return Next::frame;
}

FrameReader::Next FrameReader::fail(Error error) {
  broken_ = true;
  error_ = std::move(error);
  return Next::broken;
}

}  // namespace pyw::port
