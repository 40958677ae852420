#pragma once

#include <deque>

#include "aio/loop.hpp"
#include "aio/tls_records.hpp"
#include "aio/transport_type.hpp"

namespace pyw::aio {

struct TlsObject;

/// TLS over a transport: asyncio's sslproto.SSLProtocol (that of Python 3.13, on every version), with the same phases, timeouts, flow control
/// and messages. Bytes that the transport received go into ssl's incoming MemoryBIO, what ssl wants to send is read from the outgoing one; the
/// cryptography is that of an ssl.SSLObject of the application's SSLContext. The application has a TlsTransport (tls_transport.hpp).
///
/// What differs from asyncio: what the application writes while it is given data, or within one turn of the loop, leaves in one write to the
/// transport, at the end of that turn at the latest; and what it writes in small pieces at once shares a record. The end of a stream is told to
/// who has taken all of it, or closes.
/// Invariant: the application hears connection_made and connection_lost at most once each, the latter only after the former.
/// Threads: the loop's. GIL: held. Every function that returns bool: false means that an exception is pending.
class Tls {
 public:
  enum class Phase { kUnwrapped, kHandshake, kWrapped, kFlushing, kShutdown };
  enum class App { kInit, kMade, kEof, kLost };

  // asyncio's.
  static constexpr WaterMarks kReadMarks{256u << 10, 64u << 10};
  static constexpr WaterMarks kWriteMarks{512u << 10, 128u << 10};

  /// What the constructor of the Python type has prepared; all owned.
  struct Parts {
    Ref loop, sslcontext, sslobj, incoming, outgoing, waiter, extra, handshake_timeout, shutdown_timeout, context;
    bool call_connection_made;
  };

  Tls(TlsObject* object, TlsState& state) : object_(object), state_(state) {}
  bool open(const Gil& gil, Parts parts, PyObject* app_protocol);

  // The transport below calls these (tls_phases.cpp, tls_flow.cpp).
  bool connection_made(const Gil& gil, PyObject* transport);
  bool connection_lost(const Gil& gil, PyObject* exception);
  /// Where it is to put what it receives: a memoryview. New reference.
  PyObject* buffer(const Gil& gil);
  bool buffer_updated(const Gil& gil, std::size_t size);
  /// The same for bytes that are somewhere else; `holder` exports them.
  bool feed(const Gil& gil, PyObject* holder, const char* data, std::size_t size);
  /// `keep_open`: the transport must not close itself.
  bool eof_received(const Gil& gil, bool& keep_open);
  void pause_writing() { below_paused_ = true; }
  bool resume_writing(const Gil& gil);

  // TlsTransport calls these.
  bool check_thread(const Gil& gil) const { return loop().check_thread(gil); }
  bool write(const Gil& gil, PyObject* data);
  bool write_all(const Gil& gil, PyObject* list);
  bool start_shutdown(const Gil& gil);
  bool abort(const Gil& gil, PyObject* exception);
  bool pause_reading(const Gil& gil);
  bool resume_reading(const Gil& gil);
  bool app_reading_paused() const { return app_reading_paused_; }
  bool app_writing_paused() const { return app_writing_paused_; }
  bool set_app_protocol(const Gil& gil, PyObject* protocol);
  bool set_write_marks(const Gil& gil, WaterMarks marks);
  bool set_read_marks(const Gil& gil, WaterMarks marks);
  const WaterMarks& write_marks() const { return write_marks_; }
  const WaterMarks& read_marks() const { return read_marks_; }
  bool write_size(const Gil& gil, std::size_t& size);
  bool read_size(std::size_t& size) { return pending(incoming_, size); }
  /// New reference.
  PyObject* extra_info(const Gil& gil, PyObject* name, PyObject* missing);

  // Timers call these.
  bool check_handshake_timeout(const Gil& gil);
  bool check_shutdown_timeout(const Gil& gil);

  PyObject* loop_object() const { return loop_.get(); }
  PyObject* app_protocol() const { return app_protocol_.get(); }
  PyObject* app_transport() const { return app_transport_.get(); }
  PyObject* transport() const { return transport_.get(); }
  PyObject* sslcontext() const { return sslcontext_.get(); }
  PyObject* sslobj() const { return sslobj_.get(); }
  PyObject* extra() const { return extra_.get(); }
  PyObject* waiter() const { return waiter_.get(); }
  Phase phase() const { return phase_; }
  /// Nothing will be sent or received any more.
  bool is_over() const { return phase_ == Phase::kUnwrapped || said_goodbye_; }
  static const char* name_of(Phase phase);

  /// For tests of flow control: as if it could not be encrypted yet.
  bool hold(const Gil& gil, PyObject* data);

  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  struct Piece {
    Ref data;
    std::size_t size, offset;
    std::size_t left() const { return size - offset; }
  };

  Loop& loop() const { return reinterpret_cast<LoopObject*>(loop_.get())->loop; }
  PyObject* self() const { return reinterpret_cast<PyObject*>(object_); }
  Ref tell_app(const Gil& gil, const Ref& method, PyObject* argument = nullptr);
  Ref tell(const Gil& gil, const Ref& app, const Ref& method, PyObject* argument);

  // tls_phases.cpp
  bool set_phase(Phase next);
  bool do_handshake(const Gil& gil);
  bool handshake_complete(const Gil& gil, Ref failure);
  bool handshake_failed(const Gil& gil, Ref failure);
  bool do_flush(const Gil& gil);
  bool discard_data(const Gil& gil);
  bool do_shutdown(const Gil& gil);
  bool shutdown_complete(const Gil& gil, Ref failure);
  bool tell_eof(const Gil& gil);
  bool eof_in_phase(const Gil& gil, bool& keep_open);
  bool wake_waiter(const Gil& gil, PyObject* exception);
  Ref start_timer(const Gil& gil, const Ref& seconds, const char* method);
  void cancel(Ref& timer);
  bool force_close(const Gil& gil, PyObject* exception);
  bool fatal(const Gil& gil, PyObject* exception, const char* message);
  bool fatal_if_exception(const Gil& gil);
  void mark_app_transport_closed();
  bool is_app_transport_closed() const;

  // tls_flow.cpp
  bool pending(const Ref& bio, std::size_t& size);
  bool received(const Gil& gil);
  bool may_read(bool& more);
  bool do_read(const Gil& gil);
  bool read_and_answer(const Gil& gil);
  bool read_copied(const Gil& gil);
  bool read_buffered(const Gil& gil);
  bool decrypt_all(const Gil& gil, Ref& plain, bool& ended);
  Ref decrypt(const Gil& gil, std::size_t room);
  bool decrypt_into(const Gil& gil, PyObject* target, std::size_t room, std::size_t& got, bool& ended, bool& dry);
  bool takes_writes(const Gil& gil);
  static bool measure(PyObject* data, std::size_t& size);
  void hold(Piece piece);
  bool push(const Gil& gil);
  bool do_write(const Gil& gil);
  bool encrypt_held(const Gil& gil);
  bool encrypt_piece(const Gil& gil, std::size_t& taken, bool& stuck);
  bool is_below_closing(const Gil& gil, bool& closing);
  void drop_held();
  bool merge_small(const Gil& gil);
  bool keep_copies(const Gil& gil);
  bool flush_later(const Gil& gil);
  bool process_outgoing(const Gil& gil);
  bool control_app_writing(const Gil& gil);
  bool control_reading(const Gil& gil);
  bool make_buffer(const Gil& gil);
  static bool read_chore(const Gil& gil, PyObject* owner);
  static bool resume_chore(const Gil& gil, PyObject* owner);
  static bool flush_chore(const Gil& gil, PyObject* owner);
  static bool close_chore(const Gil& gil, PyObject* owner);
  bool settle_chore(const Gil& gil, bool ok);

  TlsObject* const object_;
  TlsState& state_;
  Ref loop_, app_protocol_, app_transport_, transport_, waiter_, context_, sslcontext_, extra_, handshake_timeout_, shutdown_timeout_;
  Ref sslobj_, incoming_, outgoing_;
  Ref decrypt_, encrypt_, take_in_, take_out_;  ///< bound methods: read and write of ssl's object, incoming.write, outgoing.read
  Ref handshake_timer_, shutdown_timer_;
  Ref buffer_;  ///< a memoryview; most transports' is shared by all connections of the loop
  TlsRecords records_;
  std::deque<Piece> held_;      ///< not encrypted yet
  std::size_t held_size_ = 0;
  WaterMarks read_marks_ = kReadMarks, write_marks_ = kWriteMarks;
  double handshake_began_ = 0;
  unsigned lost_writes_ = 0;
  unsigned reading_ = 0;        ///< how deep we are in giving the application data
  Phase phase_ = Phase::kUnwrapped;
  App app_ = App::kInit;
  bool app_buffered_ = false;
  bool in_app_ = false;         ///< the application's context is entered
  bool plain_left_ = false;     ///< OpenSSL may hold decrypted bytes
  bool flush_queued_ = false;
  bool below_paused_ = false;
  bool app_reading_paused_ = false;
  bool app_writing_paused_ = false;
  bool reading_stopped_ = false;
  bool eof_ = false;
  bool read_on_ = false;        ///< the application's buffer was full, and there is more; only at the end of the stream
  bool said_goodbye_ = false;
  bool shared_buffer_ = false;
  bool derived_ = false;        ///< reads and writes are those of a class that derives from SSLObject, and may keep what they are given
};

/// The Python object around it, `_erlang_loop.TlsProtocol`: an asyncio.BufferedProtocol.
struct TlsObject : ProtocolHead {
  Tls tls;

  // For Life.
  int traverse(visitproc visit, void* arg) const { return tls.traverse(visit, arg); }
  void clear() { tls.clear(); }
  void destroy() { tls.~Tls(); }
};

bool make_tls_protocol_type(const Gil& gil, TlsState& state, PyObject* module);

}  // namespace pyw::aio
