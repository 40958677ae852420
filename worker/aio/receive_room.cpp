#include "aio/receive_room.hpp"

#include <sys/socket.h>

namespace pyw::aio {

/// UDP has no larger datagrams than kSlot; a unix socket has, up to its send buffer: there one at a time has all the room, as with asyncio, which
/// cuts off what is beyond 256 KiB.
struct ReceiveRoom::Memory {
  static constexpr std::size_t kSlot = 64u << 10;
  static constexpr std::size_t kAlone = 256u << 10;

  mmsghdr headers[kMost] = {};
  iovec slots[kMost];
  SockAddress from[kMost];
  std::unique_ptr<char[]> bytes = std::make_unique_for_overwrite<char[]>(kSlot * kMost);

  Memory() {
    for (std::size_t i = 0; i < kMost; ++i) {
      slots[i] = {bytes.get() + i * kSlot, kSlot};
      headers[i].msg_hdr.msg_iov = &slots[i];
      headers[i].msg_hdr.msg_iovlen = 1;
      headers[i].msg_hdr.msg_name = &from[i].any;
    }
  }
};

ReceiveRoom::ReceiveRoom() = default;
ReceiveRoom::~ReceiveRoom() = default;

int ReceiveRoom::fill(int fd, int family) {
  if (!memory_) memory_ = std::make_unique<Memory>();
  Memory& memory = *memory_;
  const bool alone = family == AF_UNIX;
  memory.slots[0].iov_len = alone ? Memory::kAlone : Memory::kSlot;
  constexpr socklen_t kNameRoom = sizeof(sockaddr_un);
  for (mmsghdr& each : memory.headers) each.msg_hdr.msg_namelen = kNameRoom;
  const int count = ::recvmmsg(fd, memory.headers, alone ? 1 : kMost, MSG_DONTWAIT, nullptr);
  for (int i = 0; i < count; ++i) memory.from[i].size = memory.headers[i].msg_hdr.msg_namelen;
  return count;
}

Ref ReceiveRoom::take(const Gil&, std::size_t i) const {
  return Ref::steal(PyBytes_FromStringAndSize(static_cast<const char*>(memory_->slots[i].iov_base), memory_->headers[i].msg_len));
}

const SockAddress& ReceiveRoom::from(std::size_t i) const { return memory_->from[i]; }

}  // namespace pyw::aio
