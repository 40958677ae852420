#pragma once

#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "python/ref.hpp"

namespace pyw::aio {

/// A socket's address as the kernel has it.
struct SockAddress {
  union {
    sockaddr any;
    sockaddr_in in;
    sockaddr_in6 in6;
    sockaddr_un un;
    sockaddr_vm vm;
  };
  socklen_t size = 0;  ///< 0: no address, as that of a unix socket that was not bound

  SockAddress() { any.sa_family = AF_UNSPEC; }
  bool operator==(const SockAddress& other) const { return size == other.size && std::memcmp(&any, &other.any, size) == 0; }
};

/// The form that Python's socket module has for it: (host, port), (host, port, flow, scope), a path, or bytes that begin with a zero for an
/// abstract name, (cid, port) of a virtual machine, (family, bytes) of anything else; None for none. New reference; empty: an exception is pending.
Ref to_python(const Gil& gil, const SockAddress& address);

/// The other way, for what needs no look-up: numbers for a host, a path that fits. False, and nothing is pending: Python's socket module has
/// to make sense of it, which resolves names and knows what is wrong with the rest.
bool from_python(const Gil& gil, int family, PyObject* name, SockAddress& address);

/// Remembers the addresses of the peers of one socket, so that the same peer is the same Python object again, and an object that was received,
/// or sent to before, need not be parsed. A few peers at a time; those that are many take each other's places.
/// Owns: the objects. GIL: needed throughout.
class AddressBook {
 public:
  explicit AddressBook(int family) : family_(family) {}

  /// Empty: an exception is pending.
  Ref name_of(const Gil& gil, const SockAddress& address);
  /// Null, and nothing is pending: as from_python. Valid until the next call.
  const SockAddress* find(const Gil& gil, PyObject* name);

 private:
  struct Entry {
    SockAddress address;
    Ref name;
  };
  static constexpr std::size_t kPeers = 16;  // a power of two

  const int family_;
  std::array<Entry, kPeers> peers_;
  std::size_t last_ = 0;  ///< the peer that was named last: most answers go there
  Entry sent_;            ///< what was parsed last
  SockAddress scratch_;
};

}  // namespace pyw::aio
