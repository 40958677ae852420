#pragma once

#include "aio/loop.hpp"

namespace pyw::aio {

/// What loop.sock_recv(sock, n) and its like return: an awaitable that is a coroutine to asyncio. Awaited, it tries the system call, and only if
/// that would block it waits, with a future of the loop, until the socket is ready; then it tries again. Nothing is read or sent while it
/// waits, so a cancelled call has taken nothing from a socket.
///
/// recv, recv_into and sendall call the system themselves; the others call the method of Python's socket, which knows addresses and makes
/// sockets. Only for objects whose type is exactly socket.socket: asyncio's own methods do the rest.
/// Invariant: waits_for is not 0 if and only if the loop's SockWaits has it. Threads: the loop's. GIL: held.
struct SockCallObject {
  enum class Kind : unsigned char { recv, recv_into, recvfrom, recvfrom_into, sendall, sendto, accept, connect, writable };
  enum class Stage : unsigned char { fresh, running, over };

  PyObject_HEAD
  LoopObject* loop;  ///< owned, as everything below; null once it is over
  PyObject* sock;
  PyObject* args[2];
  PyObject* future;  ///< what the task waits for
  Py_buffer data;    ///< sendall: what is to be sent, from the first wait on
  Py_ssize_t size;   ///< recv: at most; sendall: sent so far; connect, writable: 1 if begun
  Kind kind;
  Stage stage;
  int waits_for;  ///< Watcher::kReadable, kWritable, or 0
  int fd;         ///< while it waits
  SockCallObject* before;  ///< in SockWaits' list, while it waits
  SockCallObject* after;

  int event() const { return waits_for; }
};

/// Whether the socket has been closed, or has another descriptor, since it began to wait.
bool has_lost_its_socket(const Gil& gil, SockCallObject* call);

/// From SockWaits: the socket may be ready. False: an exception is pending that ends the run.
bool wake(const Gil& gil, SockCallObject* call);

bool make_sock_call_type(const Gil& gil, State& state, PyObject* module);

/// The methods of the loop; for its table.
PyObject* sock_recv(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
PyObject* sock_recv_into(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
PyObject* sock_recvfrom(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
PyObject* sock_recvfrom_into(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
PyObject* sock_sendall(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
PyObject* sock_sendto(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
PyObject* sock_accept(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
/// With an address that is resolved.
PyObject* sock_connect_to(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
/// Waits until a socket that was full takes something, or is closed.
PyObject* sock_writable(PyObject* loop, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);

}  // namespace pyw::aio
