#pragma once

#include "aio/stream_transport.hpp"

namespace pyw::aio {

/// Accepts the connections of one listening socket of a server. Each gets a transport and a protocol, or, where more than that has to be done (TLS),
/// is handed to a function of Python's.
/// What goes wrong with one connection is reported and is that one's end alone; when descriptors or memory are used up, it pauses for a second.
/// Threads: the loop's. GIL: held.
class Listener {
 public:
  struct Parts {
    Ref loop, socket, factory, server, hand_over;  ///< hand_over empty: our transport; else it is called with (socket, peer's address)
    int backlog;
  };
  Listener(const Gil& gil, PyObject* object, Parts parts, Ref context);

  /// False: an exception is pending.
  bool start(const Gil& gil);
  void stop();

  int traverse(visitproc visit, void* arg) const;

 private:
  static bool told(void* owner, int events);
  bool accept(const Gil& gil);
  bool serve(const Gil& gil, UniqueFd connection, const SockAddress& peer);
  bool hand_over(const Gil& gil, UniqueFd connection, const SockAddress& peer);
  bool pause(const Gil& gil);
  bool report_pending(const Gil& gil, const char* message, const char* what, PyObject* about);

  PyObject* object_;
  Ref loop_object_;
  Loop& loop_;
  Ref socket_;
  SocketInUse use_;
  Ref factory_;
  Ref server_;
  Ref hand_over_;
  Ref context_;
  const int backlog_;
  int fd_ = -1;
  bool stopped_ = false;
  Watcher watcher_;
};

/// Makes the type `_erlang_loop.Listener`. False: an exception is pending.
bool make_listener_type(const Gil& gil, State& state, PyObject* module);

}  // namespace pyw::aio
