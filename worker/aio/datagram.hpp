#pragma once

#include <deque>
#include <optional>

#include "aio/address.hpp"
#include "aio/loop.hpp"
#include "aio/socket_in_use.hpp"
#include "aio/transport_type.hpp"

namespace pyw::aio {

/// A transport of datagrams on one socket of AF_INET, AF_INET6 or AF_UNIX: what create_datagram_endpoint gives. It does what asyncio's does, with
/// these differences: datagrams are received and, once they had to wait, sent many at a time; empty ones are sent in all versions; a
/// datagram in the write buffer counts as its size and kHeader bytes; nothing is sent once the transport is closed.
///
/// The loop keeps the transport alive from its making until connection_lost, or until the loop is closed.
/// Invariants: the descriptor is watched only while the loop is open and the socket is; what is in unread_ came before what the socket has.
/// Threads: the loop's. GIL: held.
class Datagram {
 public:
  Datagram(const Gil& gil, PyObject* self, PyObject* loop, PyObject* sock, PyObject* protocol, PyObject* address, int family);
  ~Datagram();
  Datagram(const Datagram&) = delete;
  Datagram& operator=(const Datagram&) = delete;

  /// The rest of the making. False: an exception is pending.
  bool open(const Gil& gil, PyObject* waiter, PyObject* extra);

  // The methods of the transport. Null, or false: an exception is pending.
  bool sendto(const Gil& gil, PyObject* data, PyObject* address);
  bool close(const Gil& gil);
  bool abort(const Gil& gil);
  bool pause_reading(const Gil& gil);
  bool resume_reading(const Gil& gil);
  /// False: what the protocol's pause_writing raised is pending.
  bool set_marks(const Gil& gil, WaterMarks marks);
  const WaterMarks& marks() const { return marks_; }
  std::size_t write_buffer_size() const { return queued_; }
  bool is_closing() const { return closing_; }
  bool is_reading() const { return !closing_ && !paused_; }
  bool is_writing() const { return watcher_ && (watcher_->events() & Watcher::kWritable) != 0; }
  bool is_watching() const { return watcher_ && (watcher_->events() & Watcher::kReadable) != 0; }
  int fd() const { return fd_; }
  // Borrowed; null when there is none, after connection_lost.
  PyObject* protocol() const { return protocol_.get(); }
  PyObject* loop_object() const { return loop_.get(); }
  PyObject* sock() const { return sock_.get(); }
  PyObject* address() const { return address_.get(); }
  void set_protocol(Ref protocol) { protocol_ = std::move(protocol); }

  /// Nobody has closed it and nobody can any more: warns, and closes the socket.
  void finalize(const Gil& gil);
  /// The loop, and whoever collects garbage: no longer watches or is known to the loop.
  void detach(const Gil& gil);
  /// For tp_clear.
  void drop(const Gil& gil);
  int traverse(visitproc visit, void* arg) const;

 private:
  static constexpr std::size_t kHeader = 8;
  enum class Sent { yes, blocked, refused, failed };
  struct Waiting {
    Ref data;  ///< bytes
    Ref name;  ///< the address as it was given
    SockAddress address;  ///< of size 0: the socket is connected, or Python has to make sense of `name`
  };
  struct Arrived {
    Ref data;
    Ref from;
  };

  PyObject* self() const { return self_; }
  Loop& loop() const { return loop_of(loop_.get()); }
  bool check_loop(const Gil& gil) const;
  bool watch(const Gil& gil, int add, int drop);
  bool read(const Gil& gil);
  bool deliver(const Gil& gil, Arrived* arrived, std::size_t count);
  bool flush(const Gil& gil);
  Sent try_send(const Gil& gil, PyObject* data, PyObject* name);
  Sent send_with_python(const Gil& gil, PyObject* data, PyObject* name);
  int send_many(const Gil& gil);
  Sent judge() const;
  void unclaim();
  bool close_socket(const Gil& gil);
  void pop();
  void drop_queue();
  bool tell(const Gil& gil, const Ref& method, PyObject* first, PyObject* second);
  bool survives(const Gil& gil, const char* message);
  bool maybe_pause(const Gil& gil);
  bool maybe_resume(const Gil& gil);
  bool fatal(const Gil& gil, const char* message);
  bool force_close(const Gil& gil, PyObject* exception);
  bool lose(const Gil& gil);
  static bool told(void* owner, int events);
  static bool made(const Gil& gil, PyObject* object);
  static bool begin(const Gil& gil, PyObject* object);
  static bool catch_up(const Gil& gil, PyObject* object);
  static bool lost(const Gil& gil, PyObject* object);

  PyObject* const self_;  ///< the object that this is in
  State& state_;
  Ref loop_, sock_, protocol_, context_;
  Ref address_;  ///< where everything goes; None
  Ref waiter_;   ///< told when connection_made has been called
  Ref reason_;   ///< of connection_lost
  SocketInUse use_;
  AddressBook book_;
  std::optional<Watcher> watcher_;
  std::deque<Waiting> queue_;
  std::deque<Arrived> unread_;  ///< received, and then reading was paused
  std::size_t queued_ = 0;
  WaterMarks marks_;
  const int family_;
  int fd_ = -1;
  int lost_ = 0;  ///< connection_lost is on its way; and how many sendto there were since
  bool claimed_ = false;
  bool connected_ = false;
  bool in_context_ = false;  ///< context_ is entered
  bool closing_ = false;
  bool paused_ = false;
  bool begun_ = false;
  bool protocol_paused_ = false;
};

/// The Python object around it.
struct DatagramObject : TransportHead {
  Datagram datagram;

  // For Life.
  int traverse(visitproc visit, void* arg) const { return datagram.traverse(visit, arg); }
  void clear() {
    const GilHeld gil;
    datagram.drop(gil);
  }
  void destroy() { datagram.~Datagram(); }
};

inline Datagram& datagram_in(PyObject* object) { return reinterpret_cast<DatagramObject*>(object)->datagram; }

/// `_erlang_loop.DatagramTransport(loop, sock, protocol, address, waiter, extra)`, which derives from asyncio.DatagramTransport. False: an
/// exception is pending.
bool make_datagram_type(const Gil& gil, State& state, PyObject* module);

}  // namespace pyw::aio
