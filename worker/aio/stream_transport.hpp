#pragma once

#include <optional>

#include "aio/loop.hpp"
#include "aio/stream_socket.hpp"
#include "aio/transport_type.hpp"
#include "aio/water_marks.hpp"
#include "aio/write_queue.hpp"

namespace pyw::aio {

class ReaderBuffer;
struct StreamObject;

/// The transport of a connected stream socket, between its descriptor and a Protocol or BufferedProtocol.
///
/// The first write of a turn of the loop goes out at once; what is written after it in the same turn is collected and goes out together at its end.
/// What the descriptor does not take waits in a queue, and the protocol is told to pause above the high-water mark.
/// The protocol's methods run in the context in which the transport was made. What they raise is fatal to the connection and goes to the loop's
/// exception handler; KeyboardInterrupt and SystemExit end the loop's run.
/// Invariant: connection_lost is called exactly once, as a chore of its own; after it the transport holds neither protocol nor socket.
/// Threads: the loop's. GIL: held.
class StreamTransport {
 public:
  struct Parts {
    Ref loop, protocol, waiter, extra, server;
    StreamSocket socket;
  };
  StreamTransport(const Gil& gil, StreamObject* object, Parts parts, Ref context);
  ~StreamTransport();
  StreamTransport(const StreamTransport&) = delete;
  StreamTransport& operator=(const StreamTransport&) = delete;

  /// Queues what makes the connection known to its protocol, and then begins to read. False: an exception is pending.
  bool begin(const Gil& gil);

  // What the methods of the Python type do. False: an exception is pending, for the caller.
  bool write(const Gil& gil, PyObject* data);
  bool write_lines(const Gil& gil, PyObject* lines);
  bool write_eof(const Gil& gil);
  bool close(const Gil& gil);
  bool set_protocol(const Gil& gil, PyObject* protocol);
  bool pause_reading(const Gil& gil);
  bool resume_reading(const Gil& gil);
  bool is_reading() const { return !closing_ && !paused_; }
  bool reading_paused() const { return paused_; }
  bool is_closing() const { return closing_; }
  /// False: what the protocol's pause_writing raised is pending.
  bool set_marks(const Gil& gil, WaterMarks marks);
  const WaterMarks& marks() const { return marks_; }
  std::size_t queued() const { return queue_.size(); }
  bool protocol_paused() const { return protocol_paused_; }
  /// For sendfile: a future that is done when everything has left. Until reset_empty_waiter() nothing may be written, and the descriptor is not
  /// watched here, so that others can.
  PyObject* make_empty_waiter(const Gil& gil);
  bool reset_empty_waiter(const Gil& gil);
  /// asyncio's _fatal_error: reports, and closes without flushing.
  static constexpr const char* kFatal = "Fatal error on transport";
  bool fatal(const Gil& gil, PyObject* exception, const char* message);
  /// Closes without flushing; the protocol gets `exception` (or None).
  bool force_close(const Gil& gil, PyObject* exception);
  /// What is only collected goes out before.
  bool abort(const Gil& gil);

  PyObject* protocol() const { return protocol_.get(); }
  StreamSocket& socket() { return socket_; }
  PyObject* server() const { return server_.get(); }
  PyObject* extra() const { return extra_.get(); }
  PyObject* loop_object() const { return loop_object_.get(); }
  int fd() const { return socket_.fd(); }
  Loop* loop() const { return loop_; }

  int traverse(visitproc visit, void* arg) const;
  void clear_references();
  /// The descriptor is about to be closed by somebody else: no longer watches it, and is not known to the loop as its owner.
  void detach();

 private:
  static bool told(void* owner, int events);
  static bool connected(const Gil& gil, PyObject* owner);
  static bool lost(const Gil& gil, PyObject* owner);
  static bool flush_collected(const Gil& gil, PyObject* owner);

  bool read(const Gil& gil);
  Ref received(const Gil& gil, ssize_t& n);
  bool read_into_reader(const Gil& gil, ReaderBuffer& buffer);
  bool read_nothing(const Gil& gil, ssize_t n);
  bool read_into_buffers(const Gil& gil);
  bool read_into_buffer(const Gil& gil, std::size_t& total, bool& filled);
  bool end_of_stream(const Gil& gil);
  bool write_ready(const Gil& gil);
  /// Something waits, and not for the socket.
  bool has_collected() const { return !queue_.empty() && !wants_to_write_ && lost_count_ == 0; }
  bool flush(const Gil& gil);
  bool all_has_left(const Gil& gil);
  bool may_write(const Gil& gil, const char* method, PyObject* data);
  bool watch(const Gil& gil);
  bool lose(const Gil& gil, PyObject* exception);
  bool end(const Gil& gil, PyObject* exception);
  bool tell(const Gil& gil, bool pause);
  Ref call(const Gil& gil, const Ref& method, PyObject* argument = nullptr);
  bool fatal_pending(const Gil& gil, const char* message);
  /// False: the loop's exception handler has raised what ends the run.
  bool report(const Gil& gil, const char* message, PyObject* exception);
  void lend(const Gil& gil);
  void settle_empty_waiter(const Gil& gil, PyObject* exception);
  PyObject* self() const { return reinterpret_cast<PyObject*>(object_); }

  StreamObject* object_;
  Loop* loop_;
  StreamSocket socket_;
  Watcher watcher_;
  WriteQueue queue_;
  WaterMarks marks_;
  std::uint64_t wrote_in_turn_ = 0;  ///< the turn of the loop in which the last write went out at once
  std::size_t last_read_ = 0;        ///< how much it brought
  int lost_count_ = 0;               ///< > 0: connection_lost is under way; counts writes since
  bool buffered_ = false;
  bool started_ = false;
  bool closing_ = false;
  bool paused_ = false;
  bool saw_eof_ = false;
  bool eof_ = false;
  bool flush_queued_ = false;
  bool wants_to_write_ = false;
  bool protocol_paused_ = false;
  bool in_context_ = false;  ///< context_ is entered
  bool lent_ = false;  ///< for sendfile

  Ref loop_object_;
  Ref protocol_;
  Ref waiter_;
  Ref extra_;
  Ref server_;
  Ref context_;
  Ref empty_waiter_;
  Ref why_lost_;
};

/// The Python object around it, which asyncio's _FlowControlMixin is the base class of.
struct StreamObject : TransportHead {
  std::optional<StreamTransport> stream;

  // For Life.
  int traverse(visitproc visit, void* arg) const { return stream ? stream->traverse(visit, arg) : 0; }
  void clear() {
    if (stream) stream->clear_references();
  }
  void destroy() { stream.~optional(); }
};

/// A new transport, which has been begun. Empty: an exception is pending, and the socket is as it was, or closed if it was accepted.
Ref make_stream(const Gil& gil, State& state, StreamTransport::Parts parts);

/// server._attach or server._detach: servers count their transports; since 3.13 they know them, too. False: an exception is pending.
bool tell_server(const Gil& gil, const Ref& method, PyObject* server, PyObject* transport);

/// Makes the type and adds it to the module. False: an exception is pending.
bool make_stream_type(const Gil& gil, State& state, PyObject* module);

}  // namespace pyw::aio
