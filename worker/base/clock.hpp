#pragma once

#include <ctime>

#include <cstdint>

namespace pyw {

/// CLOCK_MONOTONIC in nanoseconds: the clock of deadlines, the same as os:perf_counter(nanosecond) in the BEAM.
inline std::uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace pyw
