#pragma once

#include <cstdint>

#include "loop/context_tasks.hpp"
#include "loop/inlet.hpp"
#include "loop/sentinel.hpp"
#include "loop/spin.hpp"
#include "python/outcalls.hpp"

namespace pyw::loop {

/// Where CPython writes a byte for a signal, so that it ends our wait.
struct SignalPipe {
  static Result<SignalPipe> make();
  UniqueFd read, write;
};

/// What the main thread does all day: run the requests that have come, step the asyncio loop when it is due, write the answers, wait. A
/// request runs between two uv_runs and never inside a uv callback: callbacks only note that something is due.
/// Threads: the main thread. GIL: held by the caller of run(); released while waiting.
///
/// A request that calls Erlang and waits stands still in wait(), which is a smaller copy of the same day further up the stack: it serves the
/// requests that descend from that callback and nothing else, but for the event loop when some of them have become its tasks.
class MainLoop final : public MainWait {
 public:
  struct Parts {
    uv::Loop& uv;
    Inlet& inlet;
    session::Session& session;
    port::Outbox& outbox;
    Sentinel& sentinel;
    Executor& executor;
    Handles& handles;
    ContextTasks& tasks;
    InterruptPoint& interrupts;
    int frames_out;
  };
  /// The handles are opened here, on the main thread, and closed with this object.
  MainLoop(const Gil& gil, const Parts& parts, SignalPipe signals, std::uint64_t spin_ns);
  ~MainLoop() override;
  MainLoop(const MainLoop&) = delete;
  MainLoop& operator=(const MainLoop&) = delete;
  /// Before run().
  void use(Outcalls& calls) { calls_ = &calls; }

  enum class End {
    stopped,  ///< asked to
    closed,   ///< the BEAM closed the pipe
    broken,   ///< the peer broke the protocol: why() says how
  };
  End run(const Gil& gil);
  const Error& why() const { return why_; }
  MainWait::End wait(const Gil& gil, std::uint64_t callback, const BlockedThread& thread, std::uint64_t deadline) override;

 private:
  void open_handles();
  /// What the innermost wait() waits for.
  struct Awaited {
    std::uint64_t callback;
    const BlockedThread& thread;
    Awaited* outer = nullptr;
    int signals_before = -1;  ///< whose signals we have taken over while we sleep
  };
  void serve(const Gil& gil);
  void arm_deadline(std::uint64_t deadline);
  bool serves_tasks() const { return !awaited_ || (parts_.session.has_nested_tasks() && !parts_.tasks.stepping()); }
  bool obeys() const { return !awaited_ || !parts_.tasks.stepping(); }
  bool has_mail() const { return calls_ && calls_->has_mail(); }
  void begin_stop(std::uint64_t grace_ms);
  bool may_stop() const { return stopping_ && (grace_over_ || (!parts_.session.has_requests() && !parts_.tasks.pending())); }
  void obey(const Gil& gil);
  void run_requests(const Gil& gil);
  void run_one(const Gil& gil, const port::Frame& frame);
  void run_tasks(const Gil& gil);
  void check_signals();
  int take_signals(int fd);
  void trim_later();
  void flush();
  void look(std::uint64_t every_ns);
  void rest(const Gil& gil);
  bool only_thread() const;
  bool spin(std::uint64_t began);
  void sleep();
  bool read();
  bool has_work() const;
  /// For uv callbacks: something happened that the main loop must look at, whatever the session says. uv_run may have called us before its
  /// wait, which is then not to begin.
  template <class H>
  static void wake(H* handle) {
    if (handle->data) static_cast<MainLoop*>(handle->data)->awake_ = true;
    uv_stop(handle->loop);
  }

  Parts parts_;
  Outcalls* calls_ = nullptr;
  Awaited* awaited_ = nullptr;
  SpinPolicy spin_;
  Error why_{};
  bool stopping_ = false;
  bool grace_over_ = false;
  bool ended_ = false;
  End end_ = End::stopped;
  std::uint64_t last_flush_ = 0;
  std::uint64_t looked_ = 0;
  uv::Handle<uv_poll_t> in_;
  uv::Handle<uv_poll_t> out_;
  uv::Handle<uv_poll_t> signals_;
  uv::Handle<uv_async_t> woken_;
  uv::Handle<uv_timer_t> grace_;
  uv::Handle<uv_timer_t> trim_;
  uv::Handle<uv_timer_t> deadline_;
  Ref set_wakeup_fd_;
  Ref quietly_;
  SignalPipe signal_pipe_;
  bool out_armed_ = false;
  bool awake_ = false;  ///< since rest() began: what its look was told counts as well as what its sleep was
};

}  // namespace pyw::loop
