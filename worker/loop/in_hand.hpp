#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace pyw::loop {

/// One record of the crash file: output that has been taken out of its pipe and has not been sent yet. It is read from the pipe right into
/// memory that outlives this process, so that a line printed a moment before a SIGKILL is not lost with us.
/// Threads: the sentinel, and main after the sentinel has ended.
class InHand {
 public:
  /// `stream` 0: stdout, 1: stderr. Where the file cannot be mapped, the record is ordinary memory, and nothing outlives us.
  InHand(int crash_fd, int stream);
  ~InHand();
  InHand(const InHand&) = delete;
  InHand& operator=(const InHand&) = delete;

  bool full() const { return used_ == kCapacity; }
  /// Room behind what is held, for read(2), which must follow at once. A SIGKILL may take us right out of that system call, after the bytes
  /// have come and before we could say how many: so the record says "all of it" until took(), and the rest of it is NUL bytes, which
  /// its reader cuts off.
  std::span<char> room();
  /// So many bytes have been read into room(); returns them.
  std::string_view took(std::size_t n);
  /// Everything but `rest` has been sent. `rest` may lie in this record.
  void keep(std::string_view rest);

 private:
  static constexpr std::size_t kCapacity = 32 * 1024 - sizeof(std::uint32_t);
  void announce(std::size_t length);
  void* mapping_;
  std::size_t used_ = 0;
  std::uint32_t* length_;
  char* data_;
};

}  // namespace pyw::loop
