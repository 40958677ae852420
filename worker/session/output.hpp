#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace pyw::session {

/// Cuts what a process prints into lines of at most `limit` bytes. The rest of a longer line is thrown away, and the line is marked.
/// Pure. Threads: not synchronised.
class LineSplitter {
 public:
  using Sink = std::function<void(std::string_view line, bool cut)>;
  explicit LineSplitter(std::size_t limit) : limit_(limit) {}
  void feed(std::string_view chunk, const Sink& sink);
  /// What is left without a newline, at the end of the stream.
  void flush(const Sink& sink);
  /// What has come of a line that has not ended yet.
  std::string_view partial() const { return line_; }

 private:
  const std::size_t limit_;
  std::string line_;
  bool cut_ = false;
};

/// A token bucket: at most `rate` lines per second, with bursts of one second's worth. Pure: the caller brings the time.
class RateLimit {
 public:
  explicit RateLimit(std::uint64_t rate) : rate_(rate), tokens_(rate) {}
  bool allow(std::uint64_t now_ns);

 private:
  const std::uint64_t rate_;
  std::uint64_t tokens_;
  std::uint64_t last_ns_ = 0;
};

}  // namespace pyw::session
