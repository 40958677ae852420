#pragma once

#include <algorithm>
#include <cstdint>

namespace pyw::loop {

/// Decides whether it is worth to look for the next frame in a busy loop before sleeping in poll: waking up costs tens of
/// microseconds, a look less than one. Worth it while recent gaps between frames say that the next one is near.
/// Pure: the caller brings the times. An idle worker never spins.
class SpinPolicy {
 public:
  /// `limit_ns` 0: never spin.
  explicit SpinPolicy(std::uint64_t limit_ns) : limit_(limit_ns), gap_(kFar * limit_ns) {}
  std::uint64_t limit_ns() const { return limit_; }
  bool worth_it() const { return limit_ != 0 && gap_ < kNear * limit_; }
  /// A frame came `gap_ns` after we began to wait.
  void frame_after(std::uint64_t gap_ns) {
    // Moves fast: two near frames after a far one switch spinning on, two far ones switch it off.
    gap_ = (gap_ + 3 * std::min(gap_ns, kFar * limit_)) / 4;
  }
  /// The next one is taken to be far.
  void not_near() { gap_ = kFar * limit_; }

 private:
  // A gap seen through poll includes two wake-ups of about 40 us that spinning would save, hence "near" is a few limits wide.
  static constexpr std::uint64_t kNear = 4;
  static constexpr std::uint64_t kFar = 16;
  const std::uint64_t limit_;
  std::uint64_t gap_;
};

}  // namespace pyw::loop
