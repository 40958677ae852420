#include "loop/in_hand.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/check.hpp"
#include "base/crash_file.hpp"

namespace pyw::loop {
namespace {
/// Of a line that has not ended yet so much is kept that a whole chunk still fits behind it.
constexpr std::size_t kMostKept = 16 * 1024;
}  // namespace

InHand::InHand(int crash_fd, int stream) {
  const auto at = static_cast<off_t>(CrashFile::kStack + static_cast<std::size_t>(stream) * CrashFile::kRecord);
  mapping_ = ::mmap(nullptr, CrashFile::kRecord, PROT_READ | PROT_WRITE, MAP_SHARED, crash_fd, at);
  if (mapping_ == MAP_FAILED)
    mapping_ = ::mmap(nullptr, CrashFile::kRecord, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  PYW_CHECK(mapping_ != MAP_FAILED, "no memory for the output");
  length_ = static_cast<std::uint32_t*>(mapping_);
  data_ = reinterpret_cast<char*>(length_ + 1);
}

InHand::~InHand() { ::munmap(mapping_, CrashFile::kRecord); }

/// The memory is ours alone, but its reader may come at any time: after our death.
void InHand::announce(std::size_t length) {
  std::atomic_ref(*length_).store(static_cast<std::uint32_t>(length), std::memory_order_release);
}

std::span<char> InHand::room() {
  std::memset(data_ + used_, 0, kCapacity - used_);
  announce(kCapacity);
  return {data_ + used_, kCapacity - used_};
}

std::string_view InHand::took(std::size_t n) {
  const std::string_view fresh(data_ + used_, n);
  used_ += n;
  announce(used_);
  return fresh;
}

void InHand::keep(std::string_view rest) {
  rest.remove_prefix(rest.size() - std::min(rest.size(), kMostKept));
  if (!rest.empty()) std::memmove(data_, rest.data(), rest.size());
  used_ = rest.size();
  announce(used_);
}

}  // namespace pyw::loop
