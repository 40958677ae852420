#pragma once

#include <cstdint>

#include "loop/context_tasks.hpp"
#include "loop/inlet.hpp"
#include "loop/sentinel.hpp"
#include "loop/spin.hpp"

namespace pyw::loop {

/// What the main thread does all day: run the requests that have come, step the asyncio loop when it is due, write the answers, wait. A
/// request runs between two uv_runs and never inside a uv callback: callbacks only note that something is due.
/// Threads: the main thread. GIL: held by the caller of run(); released while waiting.
class MainLoop {
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
    int frames_out;
  };
  MainLoop(const Parts& parts, std::uint64_t spin_ns) : parts_(parts), spin_(spin_ns) {}

  enum class End {
    stopped,  ///< asked to
    closed,   ///< the BEAM closed the pipe
    broken,   ///< the peer broke the protocol: why() says how
  };
  End run(const Gil& gil);
  const Error& why() const { return why_; }

 private:
  void open_handles();
  void begin_stop(std::uint64_t grace_ms);
  bool may_stop() const { return stopping_ && (grace_over_ || (!parts_.session.has_requests() && !parts_.tasks.pending())); }
  void obey(const Gil& gil);
  void run_requests(const Gil& gil);
  void run_one(const Gil& gil, const port::Frame& frame);
  void run_tasks(const Gil& gil);
  void check_signals();
  void trim_later();
  void flush();
  void wait(const Gil& gil);
  bool only_thread() const;
  bool spin(std::uint64_t began);
  void sleep();
  bool read();
  bool has_work() const { return parts_.session.has_requests() || parts_.session.has_commands() || parts_.tasks.due(); }

  Parts parts_;
  SpinPolicy spin_;
  Error why_{};
  bool stopping_ = false;
  bool grace_over_ = false;
  bool ended_ = false;
  End end_ = End::stopped;
  std::uint64_t last_flush_ = 0;
  uv::Handle<uv_poll_t> in_;
  uv::Handle<uv_poll_t> out_;
  uv::Handle<uv_poll_t> signals_;
  uv::Handle<uv_async_t> woken_;
  uv::Handle<uv_timer_t> grace_;
  uv::Handle<uv_timer_t> trim_;
  UniqueFd signal_read_;
  UniqueFd signal_write_;
  bool out_armed_ = false;
};

}  // namespace pyw::loop
