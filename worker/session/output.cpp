#include "session/output.hpp"

#include <algorithm>

namespace pyw::session {

void LineSplitter::feed(std::string_view chunk, const Sink& sink) {
  while (!chunk.empty()) {
    const std::size_t newline = chunk.find('\n');
    const std::string_view part = chunk.substr(0, newline);
    const std::size_t room = limit_ - line_.size();
    line_.append(part.substr(0, room));
    cut_ = cut_ || part.size() > room;
    if (newline == std::string_view::npos) return;
    sink(line_, cut_);
    line_.clear();
    cut_ = false;
    chunk.remove_prefix(newline + 1);
  }
}

void LineSplitter::flush(const Sink& sink) {
  if (!line_.empty()) sink(line_, cut_);
  line_.clear();
  cut_ = false;
}

bool RateLimit::allow(std::uint64_t now_ns) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  // In whole tokens; the remainder of the time stays, so that slow drips add up.
  const std::uint64_t step = std::max<std::uint64_t>(1, kSecond / std::max<std::uint64_t>(1, rate_));
  if (last_ns_ == 0) last_ns_ = now_ns;
  const std::uint64_t earned = (now_ns - last_ns_) / step;
  tokens_ = std::min(rate_, tokens_ + earned);
  last_ns_ += earned * step;
  if (tokens_ == 0) return false;
  --tokens_;
  return true;
}

}  // namespace pyw::session
