#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <vector>

#include "base/lease.hpp"
#include "etf/writer.hpp"
#include "port/header.hpp"

namespace pyw::port {

/// Builds one outgoing frame: begin(), then the payload through writer(), then hand it to an Outbox. Reusable.
/// Threads: not synchronised.
class FrameBuilder {
 public:
  explicit FrameBuilder(std::uint64_t max_frame) : writer_(max_frame + kHeaderSpace) {}
  void begin(Kind kind, std::uint8_t flags, std::uint64_t id);
  /// The longer header of what is to be answered. `trace` may be empty; at most 64 KiB.
  void begin_callback(std::uint64_t id, std::uint64_t parent, std::uint64_t deadline, std::string_view trace);
  etf::Writer& writer() { return writer_; }
  bool overflowed() const { return writer_.overflowed(); }

 private:
  friend class Outbox;
  void finish();  // patches the length
  etf::Writer writer_;
};

/// The queue of bytes that wait for the pipe to the BEAM. Frames go in whole; one write takes as many as the pipe will hold.
/// Memory that a frame only refers to is kept by its lease until written; spent leases are handed back by collect(), because ending
/// one may need the GIL and the thread that wrote may not have it.
/// Threads: any; never blocks longer than one non-blocking write. GIL: not needed.
class Outbox {
 public:
  /// `fd` must be non-blocking.
  explicit Outbox(int fd) : fd_(fd) {}

  /// The builder is to begin() anew.
  void append(FrameBuilder& frame);
  /// A frame without payload, or with plain bytes as payload.
  void append(Kind kind, std::uint8_t flags, std::uint64_t id, Bytes payload = {});

  enum class State { empty, blocked, broken };
  State flush();
  /// True while bytes wait. A hint for who decides whether to poll; may change at once.
  bool pending() const { return waiting_.load(std::memory_order_relaxed) != 0; }
  std::size_t bytes() const { return waiting_.load(std::memory_order_relaxed); }
  /// Ends the leases of what has been written. Caller: as the leases' maker demands (the main thread, with the GIL).
  void collect();
  /// After fork, in the child: what waits here belongs to the parent. Forgets it without ending leases or touching the mutex.
  void abandon_in_child() { fd_ = -1; }

 private:
  struct Segment {
    std::vector<std::byte> own;
    Bytes bytes{};  // what is still to be written; points into own, that of a later segment, or leased memory
    Lease lease;
  };
  void append_own(Bytes bytes);
  void append_large(etf::Writer& writer);
  void append_reference(Bytes bytes, Lease lease);
  State flush_locked();
  void advance(std::size_t n);

  int fd_;
  std::mutex mutex_;
  std::deque<Segment> segments_;
  std::vector<std::byte> spare_;
  std::vector<Lease> spent_;
  std::atomic<bool> has_spent_{false};
  std::atomic<std::size_t> waiting_{0};
};

}  // namespace pyw::port
