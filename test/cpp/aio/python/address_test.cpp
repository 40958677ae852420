// Addresses: what the kernel has and what Python's socket module has for it.
#include <arpa/inet.h>
#include <unistd.h>

#include "aio/receive_room.hpp"
#include "embedded.hpp"

using namespace embedded;
using namespace pyw::aio;

namespace {

SockAddress inet(const char* host, std::uint16_t port) {
  SockAddress address;
  address.in = {};
  address.in.sin_family = AF_INET;
  address.in.sin_port = htons(port);
  REQUIRE(::inet_pton(AF_INET, host, &address.in.sin_addr) == 1);
  address.size = sizeof address.in;
  return address;
}

Ref evaluated(Python& python, const char* code) {
  const Ref names = Ref::steal(PyDict_New());
  Ref value = Ref::steal(PyRun_String(code, Py_eval_input, python.names.get(), names.get()));
  REQUIRE(value);
  return value;
}

std::string repr(const Ref& object) {
  REQUIRE(object);
  const Ref text = Ref::steal(PyObject_Repr(object.get()));
  return PyUnicode_AsUTF8(text.get());
}

}  // namespace

TEST_CASE("address: what names a number comes back as the same name") {
  Python python;
  const std::pair<int, const char*> names[] = {{AF_INET, "('127.0.0.1', 80)"},
                                               {AF_INET, "('255.255.255.255', 65535)"},
                                               {AF_INET6, "('::1', 80, 0, 0)"},
                                               {AF_INET6, "('fe80::1', 80, 5, 7)"},
                                               {AF_UNIX, "'/tmp/some.sock'"},
                                               {AF_UNIX, "b'\\x00abstract'"}};
  for (const auto& [family, code] : names) {
    CAPTURE(code);
    SockAddress address;
    REQUIRE(from_python(python.gil, family, evaluated(python, code).get(), address));
    CHECK(repr(to_python(python.gil, address)) == code);
  }
}

TEST_CASE("address: what needs a look-up or is wrong is left to Python's socket module, and nothing is pending") {
  Python python;
  const std::pair<int, const char*> names[] = {
      {AF_INET, "('localhost', 80)"}, {AF_INET, "('127.0.0.1', 65536)"}, {AF_INET, "('127.0.0.1', -1)"}, {AF_INET, "('127.0.0.1', '80')"},
      {AF_INET, "('127.0.0.1',)"},    {AF_INET, "('127.0.0.1', 80, 0)"}, {AF_INET, "None"},              {AF_INET, "('127.0.0.1\\0', 80)"},
      {AF_INET, "('\\u0661', 80)"},   {AF_INET6, "('::1%lo', 80)"},      {AF_INET6, "('::1', 80, 1 << 20)"}, {AF_INET6, "('::1', 80, 0, 1 << 32)"},
      {AF_UNIX, "''"},                {AF_UNIX, "'a' * 108"},            {AF_UNIX, "'a\\0b'"},           {AF_UNIX, "b'\\0' + b'a' * 108"},
      {AF_UNIX, "5"},                 {AF_UNIX, "'\\ud800'"}};
  for (const auto& [family, code] : names) {
    CAPTURE(code);
    SockAddress address;
    CHECK_FALSE(from_python(python.gil, family, evaluated(python, code).get(), address));
    CHECK_FALSE(PyErr_Occurred());
  }
}

TEST_CASE("address: the longest paths fit") {
  Python python;
  for (const char* code : {"'a' * 107", "b'\\0' + b'a' * 107"}) {
    CAPTURE(code);
    SockAddress address;
    const Ref name = evaluated(python, code);
    REQUIRE(from_python(python.gil, AF_UNIX, name.get(), address));
    CHECK(PyObject_RichCompareBool(to_python(python.gil, address).get(), name.get(), Py_EQ) == 1);
  }
}

TEST_CASE("address: an unbound peer has none, and one of an unknown family is its number and its bytes, as for Python") {
  Python python;
  CHECK(to_python(python.gil, SockAddress()).get() == Py_None);
  SockAddress strange;
  strange.any = {.sa_family = AF_APPLETALK, .sa_data = {'x'}};
  strange.size = sizeof strange.any;
  std::string bytes = "x";
  for (std::size_t i = 1; i < sizeof strange.any.sa_data; ++i) bytes += "\\x00";
  CHECK(repr(to_python(python.gil, strange)) == "(" + std::to_string(AF_APPLETALK) + ", b'" + bytes + "')");
  strange.size = offsetof(sockaddr, sa_data) + 2;  // what lies behind has not been said
  CHECK(repr(to_python(python.gil, strange)) == "(" + std::to_string(AF_APPLETALK) + ", b'x\\x00')");
}

TEST_CASE("address: a virtual machine has its number and a port") {
  Python python;
  SockAddress machine{};
  machine.vm.svm_family = AF_VSOCK;
  machine.vm.svm_cid = 3;
  machine.vm.svm_port = 1024;
  machine.size = sizeof machine.vm;
  CHECK(repr(to_python(python.gil, machine)) == "(3, 1024)");
}

TEST_CASE("address book: the same peer is the same object, which is found again without parsing") {
  Python python;
  AddressBook book(AF_INET);
  const Ref name = book.name_of(python.gil, inet("10.0.0.1", 1));
  CHECK(book.name_of(python.gil, inet("10.0.0.1", 1)).get() == name.get());
  const SockAddress* found = book.find(python.gil, name.get());
  REQUIRE(found);
  CHECK(*found == inet("10.0.0.1", 1));
  const Ref other = evaluated(python, "('10.0.0.2', 2)");
  REQUIRE(book.find(python.gil, other.get()));
  CHECK(*book.find(python.gil, other.get()) == inet("10.0.0.2", 2));
  CHECK_FALSE(book.find(python.gil, Py_None));
}

TEST_CASE("address book: many peers take each other's places, and every answer is right") {
  Python python;
  AddressBook book(AF_INET);
  std::vector<Ref> names;
  for (int round = 0; round < 3; ++round)
    for (std::uint16_t port = 1; port <= 200; ++port) {
      Ref name = book.name_of(python.gil, inet("10.0.0.1", port));
      REQUIRE(repr(name) == "('10.0.0.1', " + std::to_string(port) + ")");
      REQUIRE(*book.find(python.gil, name.get()) == inet("10.0.0.1", port));
      names.push_back(std::move(name));
    }
  for (std::size_t i = 0; i < names.size(); ++i)
    REQUIRE(*book.find(python.gil, names[i].get()) == inet("10.0.0.1", static_cast<std::uint16_t>(i % 200 + 1)));
}

TEST_CASE("receive room: as many datagrams at a time as it has room for, whole, with where they came from") {
  Python python;
  int fds[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds) == 0);
  ReceiveRoom room;
  const int receiver = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), sender = ::socket(AF_INET, SOCK_DGRAM, 0);
  SockAddress to = inet("127.0.0.1", 0), from = inet("127.0.0.1", 0);
  for (auto& [fd, address] : {std::pair<int, SockAddress&>(receiver, to), {sender, from}}) {
    REQUIRE(::bind(fd, &address.any, address.size) == 0);
    REQUIRE(::getsockname(fd, &address.any, &address.size) == 0);
  }
  constexpr std::size_t kSent = ReceiveRoom::kMost + 3;
  for (std::size_t i = 0; i < kSent; ++i) {
    const std::string data(i * 100, static_cast<char>('a' + i % 26));
    REQUIRE(::sendto(sender, data.data(), data.size(), 0, &to.any, to.size) == static_cast<ssize_t>(data.size()));
  }
  std::size_t got = 0;
  const auto take = [&](std::size_t i, Ref data) {
    CHECK(static_cast<std::size_t>(PyBytes_GET_SIZE(data.get())) == got * 100);
    CHECK(room.from(i) == from);
    ++got;
  };
  CHECK(room.receive(python.gil, receiver, AF_INET, take) == static_cast<int>(ReceiveRoom::kMost));
  CHECK(room.receive(python.gil, receiver, AF_INET, take) == 3);
  CHECK(got == kSent);
  CHECK(room.receive(python.gil, receiver, AF_INET, take) == -1);
  CHECK(errno == EAGAIN);
  // A unix socket's may be as large as its send buffer: one at a time.
  const std::string large(150'000, 'x');
  const int room_for_it = 1 << 20;
  ::setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room_for_it, sizeof room_for_it);
  REQUIRE(::send(fds[1], large.data(), large.size(), 0) == static_cast<ssize_t>(large.size()));
  REQUIRE(::send(fds[1], "y", 1, 0) == 1);
  std::vector<Py_ssize_t> sizes;
  for (int i = 0; i < 2; ++i)
    CHECK(room.receive(python.gil, fds[0], AF_UNIX, [&](std::size_t, Ref data) { sizes.push_back(PyBytes_GET_SIZE(data.get())); }) == 1);
  CHECK(sizes == std::vector<Py_ssize_t>{150'000, 1});
  for (const int fd : {fds[0], fds[1], receiver, sender}) ::close(fd);
}
