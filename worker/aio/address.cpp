#include "aio/address.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstddef>

namespace pyw::aio {
namespace {

std::size_t place_of(const SockAddress& address) {
  std::uint32_t sum = 0;
  if (address.any.sa_family == AF_INET) {
    sum = address.in.sin_addr.s_addr * 31 + address.in.sin_port;
  } else if (address.any.sa_family == AF_INET6) {
    std::uint32_t words[4];
    std::memcpy(words, &address.in6.sin6_addr, sizeof words);
    sum = (words[0] ^ words[1] ^ words[2] ^ words[3]) * 31 + address.in6.sin6_port;
  } else {
    for (socklen_t i = 0; i + offsetof(sockaddr_un, sun_path) < address.size; ++i)
      sum = sum * 31 + static_cast<unsigned char>(address.un.sun_path[i]);
  }
  return sum ^ (sum >> 8) ^ (sum >> 16);
}

/// An int from 0 to `most`. False: it is none, and nothing is pending.
bool number(PyObject* object, long most, long& value) {
  if (!PyLong_CheckExact(object)) return false;
  int overflow = 0;
  value = PyLong_AsLongAndOverflow(object, &overflow);
  return overflow == 0 && value >= 0 && value <= most;
}

bool parse_inet(PyObject* name, int family, SockAddress& address) {
  if (!PyTuple_CheckExact(name)) return false;
  const Py_ssize_t parts = PyTuple_GET_SIZE(name);
  if (family == AF_INET ? parts != 2 : (parts < 2 || parts > 4)) return false;
  PyObject* host = PyTuple_GET_ITEM(name, 0);
  if (!PyUnicode_CheckExact(host) || !PyUnicode_IS_ASCII(host)) return false;
  const char* text = reinterpret_cast<const char*>(PyUnicode_1BYTE_DATA(host));
  if (std::strlen(text) != static_cast<std::size_t>(PyUnicode_GET_LENGTH(host))) return false;
  long port = 0, flow = 0, scope = 0;
  if (!number(PyTuple_GET_ITEM(name, 1), 0xffff, port)) return false;
  if (parts > 2 && !number(PyTuple_GET_ITEM(name, 2), 0xfffff, flow)) return false;
  if (parts > 3 && !number(PyTuple_GET_ITEM(name, 3), 0xffffffffL, scope)) return false;
  if (family == AF_INET) {
    address.in = {};
    address.in.sin_family = AF_INET;
    address.in.sin_port = htons(static_cast<std::uint16_t>(port));
    address.size = sizeof address.in;
    return ::inet_pton(AF_INET, text, &address.in.sin_addr) == 1;
  }
  address.in6 = {};
  address.in6.sin6_family = AF_INET6;
  address.in6.sin6_port = htons(static_cast<std::uint16_t>(port));
  address.in6.sin6_flowinfo = htonl(static_cast<std::uint32_t>(flow));
  address.in6.sin6_scope_id = static_cast<std::uint32_t>(scope);
  address.size = sizeof address.in6;
  return ::inet_pton(AF_INET6, text, &address.in6.sin6_addr) == 1;
}

bool parse_unix(PyObject* name, SockAddress& address) {
  const char* path = nullptr;
  Py_ssize_t size = 0;
  Ref encoded;
  if (PyUnicode_CheckExact(name)) {
    encoded = Ref::steal(PyUnicode_EncodeFSDefault(name));
    if (!encoded) {
      PyErr_Clear();  // Python's socket module will say it
      return false;
    }
    path = PyBytes_AS_STRING(encoded.get());
    size = PyBytes_GET_SIZE(encoded.get());
  } else if (PyBytes_CheckExact(name)) {
    path = PyBytes_AS_STRING(name);
    size = PyBytes_GET_SIZE(name);
  }
  if (size <= 0) return false;
  const bool abstract = path[0] == 0;
  const std::size_t room = sizeof address.un.sun_path - (abstract ? 0 : 1);
  if (static_cast<std::size_t>(size) > room || (!abstract && std::memchr(path, 0, static_cast<std::size_t>(size)))) return false;
  address.un.sun_family = AF_UNIX;
  std::memcpy(address.un.sun_path, path, static_cast<std::size_t>(size));
  if (!abstract) address.un.sun_path[size++] = 0;
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + static_cast<std::size_t>(size));
  return true;
}

}  // namespace

Ref to_python(const Gil&, const SockAddress& address) {
  if (address.size == 0) return Ref::steal(Py_BuildValue(""));
  char text[INET6_ADDRSTRLEN];
  switch (address.any.sa_family) {
    case AF_INET:
      if (!::inet_ntop(AF_INET, &address.in.sin_addr, text, sizeof text)) break;
      return Ref::steal(Py_BuildValue("si", text, static_cast<int>(ntohs(address.in.sin_port))));
    case AF_INET6:
      if (!::inet_ntop(AF_INET6, &address.in6.sin6_addr, text, sizeof text)) break;
      return Ref::steal(Py_BuildValue("siII", text, static_cast<int>(ntohs(address.in6.sin6_port)), ntohl(address.in6.sin6_flowinfo),
                                      address.in6.sin6_scope_id));
    case AF_UNIX: {
      const std::size_t size = address.size - offsetof(sockaddr_un, sun_path);
      if (size > 0 && address.un.sun_path[0] == 0) return Ref::steal(PyBytes_FromStringAndSize(address.un.sun_path, static_cast<Py_ssize_t>(size)));
      return Ref::steal(PyUnicode_DecodeFSDefaultAndSize(address.un.sun_path, static_cast<Py_ssize_t>(::strnlen(address.un.sun_path, size))));
    }
    case AF_VSOCK:
      return Ref::steal(Py_BuildValue("II", address.vm.svm_cid, address.vm.svm_port));
    default: {  // as Python's socket module, but no more than the kernel has said
      const auto said = static_cast<std::size_t>(address.size) - offsetof(sockaddr, sa_data);
      return Ref::steal(Py_BuildValue("iy#", static_cast<int>(address.any.sa_family), address.any.sa_data,
                                      static_cast<Py_ssize_t>(std::min(said, sizeof address.any.sa_data))));
    }
  }
  PyErr_SetFromErrno(PyExc_OSError);
  return {};
}

bool from_python(const Gil&, int family, PyObject* name, SockAddress& address) {
  return family == AF_UNIX ? parse_unix(name, address) : parse_inet(name, family, address);
}

Ref AddressBook::name_of(const Gil& gil, const SockAddress& address) {
  last_ = place_of(address) & (kPeers - 1);
  if (peers_[last_].name && peers_[last_].address == address) return Ref::share(gil, peers_[last_].name.get());
  // Making it may run a collection of garbage, and that any code: the entry is filled afterwards.
  Ref made = to_python(gil, address);
  if (!made) return made;
  Entry& entry = peers_[last_];
  entry.address = address;
  const Ref before = std::exchange(entry.name, Ref::share(gil, made.get()));
  return made;
}

const SockAddress* AddressBook::find(const Gil& gil, PyObject* name) {
  if (name == peers_[last_].name.get()) return &peers_[last_].address;
  if (name == sent_.name.get()) return &sent_.address;
  for (const Entry& peer : peers_)
    if (name == peer.name.get()) return &peer.address;
  if (!from_python(gil, family_, name, scratch_)) return nullptr;
  sent_.address = scratch_;
  const Ref before = std::exchange(sent_.name, Ref::share(gil, name));
  return &sent_.address;
}

}  // namespace pyw::aio
