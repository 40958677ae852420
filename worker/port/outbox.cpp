#include "port/outbox.hpp"

#include <cerrno>

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <new>

namespace pyw::port {
namespace {
constexpr std::size_t kHead = 4 + kShortHeader;
constexpr std::size_t kSegment = 256u << 10;  ///< small frames are gathered in pieces of about this size
constexpr std::size_t kPieces = 64;           ///< per write
}  // namespace

void FrameBuilder::begin(Kind kind, std::uint8_t flags, std::uint64_t id) {
  writer_.clear();
  std::array<std::byte, kHead> head{};
  put_short_header(head.data() + 4, kind, flags, id);
  writer_.plain(head);
}

void FrameBuilder::begin_callback(std::uint64_t id, std::uint64_t parent, std::uint64_t deadline, std::string_view trace) {
  begin(Kind::callback, trace.empty() ? 0 : kFlagTrace, id);
  std::array<std::byte, 18> rest{};
  put_u64(rest.data(), parent);
  put_u64(rest.data() + 8, deadline);
  rest[16] = static_cast<std::byte>(trace.size() >> 8);
  rest[17] = static_cast<std::byte>(trace.size() & 0xff);
  writer_.plain(Bytes(rest).first(trace.empty() ? 16 : 18));
  writer_.plain(bytes_of(trace));
}

void FrameBuilder::finish() { put_u32(writer_.buffer().data(), static_cast<std::uint32_t>(writer_.size() - 4)); }

void Outbox::append(FrameBuilder& frame) {
  frame.finish();
  etf::Writer& writer = frame.writer();
  const Bytes all(writer.buffer());
  const std::lock_guard lock(mutex_);
  if (all.size() >= kSegment) return append_large(writer);
  std::size_t at = 0;
  for (auto& reference : writer.references()) {
    append_own(all.subspan(at, reference.after - at));
    at = reference.after;
    append_reference(reference.bytes, std::move(reference.lease));
  }
  append_own(all.subspan(at));
}

/// Copied if it is in one piece, so that the builder keeps its buffer for the next one. Where there is no memory for that, or a frame could
/// be torn when it runs out, the buffer is taken.
void Outbox::append_large(etf::Writer& writer) {
  const Bytes all(writer.buffer());
  if (writer.references().empty()) {
    try {
      return append_own(all);
    } catch (const std::bad_alloc&) {
    }
  }
  std::size_t at = 0;
  for (auto& reference : writer.references()) {
    append_reference(all.subspan(at, reference.after - at), {});
    at = reference.after;
    append_reference(reference.bytes, std::move(reference.lease));
  }
  Segment& rest = segments_.emplace_back();
  rest.own = std::move(writer.buffer());
  rest.bytes = Bytes(rest.own).subspan(at);
  waiting_.fetch_add(rest.bytes.size(), std::memory_order_relaxed);
}

void Outbox::append(Kind kind, std::uint8_t flags, std::uint64_t id, Bytes payload) {
  std::array<std::byte, kHead> head{};
  put_u32(head.data(), static_cast<std::uint32_t>(kShortHeader + payload.size()));
  put_short_header(head.data() + 4, kind, flags, id);
  const std::lock_guard lock(mutex_);
  append_own(head);
  append_own(payload);
}

/// Nothing has happened when there is no memory for it.
void Outbox::append_own(Bytes bytes) {
  if (bytes.empty()) return;
  // A segment that has been begun to be written is still appended to: `bytes` is re-derived from what is left of it.
  if (!segments_.empty() && !segments_.back().own.empty() && segments_.back().own.size() < kSegment) {
    Segment& last = segments_.back();
    const std::size_t done = last.own.size() - last.bytes.size();
    last.own.insert(last.own.end(), bytes.begin(), bytes.end());
    last.bytes = Bytes(last.own).subspan(done);
  } else {
    Segment fresh;
    fresh.own = std::move(spare_);
    spare_ = {};
    fresh.own.assign(bytes.begin(), bytes.end());
    fresh.bytes = fresh.own;
    segments_.push_back(std::move(fresh));
  }
  waiting_.fetch_add(bytes.size(), std::memory_order_relaxed);
}

void Outbox::append_reference(Bytes bytes, Lease lease) {
  Segment& fresh = segments_.emplace_back();
  fresh.bytes = bytes;
  fresh.lease = std::move(lease);
  waiting_.fetch_add(bytes.size(), std::memory_order_relaxed);
}

Outbox::State Outbox::flush() {
  if (!pending()) return State::empty;
  const std::lock_guard lock(mutex_);
  return flush_locked();
}

Outbox::State Outbox::flush_locked() {
  while (!segments_.empty()) {
    std::array<iovec, kPieces> pieces;
    std::size_t count = 0;
    for (auto it = segments_.begin(); it != segments_.end() && count < kPieces; ++it)
      pieces[count++] = {const_cast<std::byte*>(it->bytes.data()), it->bytes.size()};
    const ssize_t n = count == 1 ? ::write(fd_, pieces[0].iov_base, pieces[0].iov_len)
                                 : ::writev(fd_, pieces.data(), static_cast<int>(count));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN ? State::blocked : State::broken;
    }
    advance(static_cast<std::size_t>(n));
  }
  return State::empty;
}

void Outbox::advance(std::size_t n) {
  waiting_.fetch_sub(n, std::memory_order_relaxed);
  while (n > 0 || (!segments_.empty() && segments_.front().bytes.empty())) {
    Segment& first = segments_.front();
    const std::size_t taken = std::min(n, first.bytes.size());
    first.bytes = first.bytes.subspan(taken);
    n -= taken;
    if (!first.bytes.empty()) return;
    if (first.lease) {
      spent_.push_back(std::move(first.lease));
      has_spent_.store(true, std::memory_order_relaxed);
    } else if (!first.own.empty() && first.own.capacity() <= 2 * kSegment) {
      spare_ = std::move(first.own);
    }
    segments_.pop_front();
  }
}

void Outbox::collect() {
  if (!has_spent_.load(std::memory_order_relaxed)) return;
  std::vector<Lease> ended;  // ended outside the lock: it runs Python code
  {
    const std::lock_guard lock(mutex_);
    ended.swap(spent_);
    has_spent_.store(false, std::memory_order_relaxed);
  }
}

}  // namespace pyw::port
