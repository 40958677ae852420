#pragma once

#include <memory>

#include "aio/loop.hpp"
#include "aio/transport_type.hpp"

namespace pyw::aio {

/// What the transports of both ends of a pipe have in common. A pipe here is a fifo, a socket or a character device, in a Python object that has
/// fileno() and close().
///
/// The protocol's methods run in the context in which the transport was made. Nothing of what they raise ends the connection, as with asyncio's own
/// pipes: it goes to the loop's exception handler; KeyboardInterrupt and SystemExit end the loop's run.
/// Invariant: connection_lost is called exactly once, as a chore of its own; after it the transport holds neither protocol nor pipe.
/// Threads: the loop's. GIL: held.
class PipeEnd {
 public:
  /// What Linux gives a pipe if nothing else is said.
  static constexpr std::size_t kPipeSize = 64u << 10;
  /// What one becomes that is full again and again: as much as a socket holds by itself, so that both sides wait half as often as with twice the
  /// usual. A user may have 64 MiB of pipes, which is 256 of these.
  static constexpr std::size_t kLarger = 4 * kPipeSize;

  struct Parts {
    Ref loop, pipe, protocol, waiter, extra;
    int fd;
  };
  PipeEnd(const Gil& gil, PyObject* self, Parts parts, Ref context);
  virtual ~PipeEnd() { detach(); }
  PipeEnd(const PipeEnd&) = delete;
  PipeEnd& operator=(const PipeEnd&) = delete;

  /// Makes the descriptor non-blocking, and queues what makes the connection known to its protocol. False: an exception is pending.
  bool begin(const Gil& gil);

  // False: an exception is pending, for the caller.
  virtual bool close(const Gil& gil) = 0;
  /// asyncio's _fatal_error: reports what is worth it, and closes.
  static constexpr const char* kFatal = "Fatal error on pipe transport";
  bool fatal(const Gil& gil, PyObject* exception, const char* message);
  /// Closes without flushing; the protocol gets `exception` (or None).
  virtual bool force_close(const Gil& gil, PyObject* exception);

  bool is_closing() const { return closing_; }
  /// -1: closed.
  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  // Borrowed; null when there is none, after connection_lost.
  PyObject* protocol() const { return protocol_.get(); }
  PyObject* pipe() const { return pipe_.get(); }
  PyObject* loop_object() const { return loop_object_.get(); }
  PyObject* extra() const { return extra_.get(); }
  void set_protocol(Ref protocol) { std::swap(protocol_, protocol); }
  /// Whoever says so closes the pipe; nothing more is done with it here.
  void give_up_pipe() {
    detach();
    fd_ = -1;
    const Ref pipe = std::move(pipe_);
  }
  State& state() const { return loop_->state(); }
  /// What is watched: " polling", " idle" or nothing, for people.
  virtual const char* activity() const = 0;

  /// Nobody has closed it and nobody can any more: warns, and closes the pipe.
  void finalize(const Gil& gil);
  /// No longer watches.
  void detach() { watcher_.close(); }
  virtual int traverse(visitproc visit, void* arg) const;
  void clear_references();

 protected:
  /// The events that are wanted now; of Watcher.
  virtual int wanted() const = 0;
  /// Told of those. False: an exception is pending that ends the run.
  virtual bool ready(const Gil& gil, int events) = 0;
  /// It cannot be watched, for it is always ready: a device such as /dev/zero.
  virtual bool is_always_ready(const Gil&) { return true; }
  /// Whether a failure of the pipe itself is worth a report.
  virtual bool is_news(const Gil& gil, PyObject* exception) const = 0;

  /// Brings what we watch in line with what we want, and has the loop hold us while that is anything.
  bool watch(const Gil& gil);
  /// Has connection_lost called, once.
  bool lose(const Gil& gil, PyObject* exception);
  bool lost() const { return lost_count_ > 0; }
  /// Empty: its exception is pending.
  Ref call(const Gil& gil, const Ref& method, PyObject* argument = nullptr);
  /// The pending exception is reported, unless it ends the run: then false.
  bool survives(const Gil& gil, const char* message);
  bool fatal_pending(const Gil& gil, const char* message);
  /// It was found full. One that is so often becomes larger, so that much data costs fewer turns; one that somebody has given another size than the
  /// usual one stays as it is.
  void was_full();
  PyObject* self() const { return self_; }
  Loop& loop() const { return *loop_; }

  bool begun_ = false;  ///< connection_made has been called
  bool closing_ = false;
  int lost_count_ = 0;  ///< > 0: connection_lost is under way; counts writes since

 private:
  static bool told(void* owner, int events);
  static bool connected(const Gil& gil, PyObject* owner);
  static bool end(const Gil& gil, PyObject* owner);
  void close_pipe(const Gil& gil);
  /// False: the loop's exception handler has raised what ends the run.
  bool report(const Gil& gil, const char* message, PyObject* exception);

  PyObject* const self_;  ///< the object that this is in
  Loop* const loop_;
  int fd_;
  Watcher watcher_;
  bool in_context_ = false;  ///< context_ is entered
  int times_full_ = 0;
  Ref loop_object_, pipe_, protocol_, waiter_, extra_, context_, why_lost_;
};

/// The Python object around one.
struct PipeObject : TransportHead {
  PipeEnd* end;  ///< owned; null if it could not be made

  // For Life.
  int traverse(visitproc visit, void* arg) const { return end ? end->traverse(visit, arg) : 0; }
  void clear() {
    if (end) end->clear_references();
  }
  void destroy() { delete std::exchange(end, nullptr); }
};

inline PipeEnd& pipe_end_in(PyObject* object) { return *reinterpret_cast<PipeObject*>(object)->end; }

/// `_erlang_loop.ReadPipeTransport` and `WritePipeTransport(loop, pipe, protocol, waiter, extra)`, which derive from asyncio's classes. False: an
/// exception is pending.
bool make_pipe_types(const Gil& gil, State& state, PyObject* module);

}  // namespace pyw::aio
