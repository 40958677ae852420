#pragma once

#include <memory>

#include "aio/address.hpp"

namespace pyw::aio {

/// Room for the datagrams of one system call. Nobody waits in between: each receive() uses all of it again, whichever socket it is for.
/// Threads: any, one at a time: the GIL sees to it where one is for all loops, and without a GIL each loop has its own.
class ReceiveRoom {
 public:
  static constexpr std::size_t kMost = 16;
  ReceiveRoom();
  ~ReceiveRoom();

  /// As many datagrams as there are and find room, each of them put(i, bytes); bytes are empty, and MemoryError is pending, if there is no memory.
  /// -1: errno.
  template <class Put>
  int receive(const Gil& gil, int fd, int family, Put put) {
    const int count = fill(fd, family);
    for (int i = 0; i < count; ++i) put(static_cast<std::size_t>(i), take(gil, static_cast<std::size_t>(i)));
    return count;
  }
  /// Where the i-th of them came from.
  const SockAddress& from(std::size_t i) const;

 private:
  struct Memory;
  int fill(int fd, int family);
  Ref take(const Gil& gil, std::size_t i) const;

  std::unique_ptr<Memory> memory_;  ///< made when first needed
};

}  // namespace pyw::aio
