// py_worker: one Python context. Builds the objects, connects them, runs, maps the outcome to an exit status.
//
//   py_worker                  started by py_launcher, speaks frames on descriptors 3 and 4
//   py_worker --python ARGS…   behaves like `python ARGS…`, with the `erlang` package present and no BEAM
//
// Exit status: 0 asked to stop or the BEAM is gone, 1 could not start, 2 wrong use, 3 the peer broke the protocol.

#include "python/compat.hpp"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "aio/module.hpp"
#include "base/clock.hpp"
#include "loop/main_loop.hpp"
#include "loop/thread_wait.hpp"
#include "process.hpp"
#include "python/erlang_module.hpp"
#include "python/exceptions.hpp"
#include "python/fork.hpp"
#include "python/interpreter.hpp"
#include "python/sandbox.hpp"

namespace pyw {
namespace {

constexpr int kExitStart = 1;
constexpr int kExitUsage = 2;
constexpr int kExitProtocol = 3;
constexpr std::uint64_t kMaxConfig = 128u << 20;  ///< the BEAM allows 16 MiB of text, of which JSON can make six times as much

/// The session's arms in the world.
class Arms final : public session::Effects {
 public:
  void connect(InterruptPoint& interrupts, loop::Sentinel& sentinel) { interrupts_ = &interrupts, sentinel_ = &sentinel; }
  /// From now on the dump signal has a handler.
  void can_dump() { can_dump_ = true; }
  static int dump_signal() { return SIGRTMAX - 2; }

  void signal_main() override { interrupts_->send(); }
  void dump_stacks() override;
  void more_output_credit(std::uint64_t lines) override { sentinel_->more_credit(lines); }

 private:
  const pthread_t main_ = ::pthread_self();
  InterruptPoint* interrupts_ = nullptr;
  loop::Sentinel* sentinel_ = nullptr;
  std::atomic<bool> can_dump_{false};
};

/// faulthandler writes in a signal handler, which cannot tell when it is done; what can be seen is that the file grows, and then does not.
void Arms::dump_stacks() {
  if (!can_dump_) return;
  constexpr int kTries = 100;
  constexpr useconds_t kPause = 500;
  const off_t before = ::lseek(Descriptors::kCrash, 0, SEEK_CUR);
  ::pthread_kill(main_, dump_signal());
  if (::pthread_equal(::pthread_self(), main_)) return;  // it has run
  off_t last = before;
  for (int i = 0; i < kTries; ++i) {
    ::usleep(kPause);  // sleep-ok: see above
    const off_t now = ::lseek(Descriptors::kCrash, 0, SEEK_CUR);
    if (now != before && now == last) return;
    last = now;
  }
}

/// Waits until everything is written, or the pipe is closed, or `timeout_ms` is over.
void write_all(port::Outbox& outbox, int timeout_ms) {
  const std::uint64_t until = monotonic_ns() + static_cast<std::uint64_t>(timeout_ms) * 1'000'000;
  while (outbox.flush() == port::Outbox::State::blocked && monotonic_ns() < until) {
    pollfd fd{Descriptors::kFramesOut, POLLOUT, 0};
    ::poll(&fd, 1, 50);
  }
}

/// The first frame. The reader keeps what came behind it.
Result<WorkerConfig> read_config(port::FrameReader& reader) {
  for (;;) {
    port::Frame frame;
    switch (reader.next(frame)) {
      case port::FrameReader::Next::broken: return reader.error();
      case port::FrameReader::Next::frame:
        if (frame.header.kind != port::Kind::config) return Error{Errc::bad_frame, "the first frame is no configuration"};
        if (frame.header.id != port::kProtocolVersion)
          return Error{Errc::bad_config, "protocol version " + std::to_string(frame.header.id) + " is not ours, which is " +
                                             std::to_string(port::kProtocolVersion)};
        return parse_config(frame.payload());
      case port::FrameReader::Next::need_more: break;
    }
    pollfd fd{Descriptors::kFramesIn, POLLIN, 0};
    ::poll(&fd, 1, -1);
    const auto space = reader.space();
    const ssize_t n = ::read(Descriptors::kFramesIn, space.data(), space.size());
    if (n == 0) return Error{Errc::os, "the BEAM closed the pipe before the configuration came"};
    if (n > 0) reader.filled(static_cast<std::size_t>(n));
  }
}

/// START_FAILED with `{What, Text}`; returns the exit status.
int start_failed(port::Outbox& outbox, std::string_view what, const std::string& why) {
  port::FrameBuilder frame(1 << 20);
  frame.begin(port::Kind::start_failed, 0, port::kProtocolVersion);
  auto& out = frame.writer();
  out.version();
  out.tuple(2);
  out.atom(what);
  out.binary(why);
  outbox.append(frame);
  write_all(outbox, 1000);
  return kExitStart;
}

TypeOptions type_options(const WorkerConfig& config) {
  TypeOptions options;
  options.atoms = config.types.atoms == "atom" ? TypeOptions::Atoms::atom : TypeOptions::Atoms::str;
  options.binaries = config.types.binaries == "bytes" ? TypeOptions::Binaries::bytes
                     : config.types.binaries == "str" ? TypeOptions::Binaries::str
                                                      : TypeOptions::Binaries::automatic;
  options.none = config.types.none;
  options.incarnation = config.incarnation;
  options.limits.max_depth = config.max_depth;
  return options;
}

/// sys.`name` as UTF-8, empty when there is none.
std::string sys_text(const char* name) {
  PyObject* value = PySys_GetObject(name);  // borrowed
  const char* text = value && PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : nullptr;
  if (!text) PyErr_Clear();  // not text that UTF-8 can say; an empty string is the answer
  return text ? text : "";
}

void send_ready(port::Outbox& outbox) {
  port::FrameBuilder frame(1 << 20);
  frame.begin(port::Kind::ready, 0, port::kProtocolVersion);
  auto& out = frame.writer();
  out.version();
  out.map(5);
  const auto text = [&](std::string_view key, const std::string& value) {
    out.atom(key);
    out.binary(value);
  };
  out.atom("os_pid");
  out.integer(::getpid());
  text("python", std::string(Py_GetVersion()).substr(0, std::strcspn(Py_GetVersion(), " ")));
  text("executable", sys_text("executable"));
  text("prefix", sys_text("prefix"));
  text("version", PYW_VERSION);
  outbox.append(frame);
}

/// Threads that Python would wait for, and then what was registered with atexit, while they can still call Erlang. The interpreter's own end
/// finds them done.
void run_exit_functions(const Gil& gil) {
  PyObject* modules = PyImport_GetModuleDict();  // borrowed
  if (PyObject* threading = PyDict_GetItemString(modules, "threading")) {
    const Ref keep = Ref::share(gil, threading);
    if (!Ref::steal(PyObject_CallMethod(threading, "_shutdown", nullptr))) PyErr_WriteUnraisable(threading);
  }
  const Ref atexit = Ref::steal(PyImport_ImportModule("atexit"));
  if (!atexit || !Ref::steal(PyObject_CallMethod(atexit.get(), "_run_exitfuncs", nullptr))) PyErr_WriteUnraisable(atexit.get());
}

/// Everything that lives as long as Python does; ends before the interpreter.
int run_context(const Gil& gil, const WorkerConfig& config, uv::Loop& uv, loop::Inlet& inlet, session::Session& session,
                port::Outbox& outbox, loop::Sentinel& sentinel, loop::ThreadWait& thread_wait, InterruptPoint& interrupts) {
  Handles handles;
  auto codec = Codec::make(gil, type_options(config), handles);
  if (!codec) return start_failed(outbox, "python", codec.error().message);
  if (auto attached = attach(gil, {.codec = codec.value().get(), .max_frame = config.max_frame}); !attached)
    return start_failed(outbox, "python", attached.error().message);
  if (config.sandbox == "audit" && !install_sandbox(gil)) {
    PyErr_Print();  // which is output, and so in the report
    return start_failed(outbox, "python", "the sandbox could not be installed");
  }
  auto current = CurrentCall::make(gil);
  if (!current) return start_failed(outbox, "python", current.error().message);
  loop::ContextTasks tasks(uv, session);
  Executor executor(gil, {*codec.value(), handles, interrupts, outbox, tasks, current.value(), type_options(config).limits, config.max_frame});
  tasks.use(executor, interrupts, [&outbox, &sentinel](bool none_is_left) {
    if (outbox.flush() == port::Outbox::State::blocked || none_is_left) sentinel.nudge();
  });
  auto signals = loop::SignalPipe::make();
  if (!signals) return start_failed(outbox, "worker", signals.error().message + limits_text(config));
  loop::MainLoop main_loop(gil, {uv, inlet, session, outbox, sentinel, executor, handles, tasks, interrupts, Descriptors::kFramesOut},
                           signals.take(), config.spin_us * 1000);
  auto calls = Outcalls::make(gil, {.session = session,
                                    .outbox = outbox,
                                    .codec = *codec.value(),
                                    .executor = executor,
                                    .current = current.value(),
                                    .main = main_loop,
                                    .interrupts = interrupts,
                                    .cancel_task = [&tasks](const Gil& held, std::uint64_t id) { tasks.cancel(held, id); },
                                    .context_loop =
                                        [&tasks, &sentinel](const Gil& held) {
                                          Ref made = tasks.loop(held);
                                          if (tasks.has_loop_to_adopt()) sentinel.nudge();
                                          return made;
                                        },
                                    .wait_aside = [&thread_wait](BlockedThread& thread,
                                                                 std::uint64_t deadline) { return thread_wait.wait(thread, deadline); },
                                    .nudge = [&sentinel] { sentinel.nudge(); },
                                    .max_frame = config.max_frame});
  if (!calls) return start_failed(outbox, "python", calls.error().message + limits_text(config));
  main_loop.use(*calls.value());
  interrupts.stepping([](void* host, std::uint64_t running) { return static_cast<loop::ContextTasks*>(host)->innermost(running); }, &tasks);

  if (config.init) {
    port::FrameBuilder failed(config.max_frame);
    failed.begin(port::Kind::start_failed, 0, port::kProtocolVersion);
    failed.writer().version();
    failed.writer().tuple(2);
    failed.writer().atom("init");
    if (!executor.run_init(gil, config.init->text, config.init->is_module, failed.writer())) {
      PYW_CHECK(attach(gil, {}).ok(), "the codec is still in use");
      if (failed.overflowed()) return start_failed(outbox, "init", "init failed with an exception that is larger than a frame may be");
      outbox.append(failed);
      return kExitStart;
    }
  }
  if (auto attached = attach(gil, {.codec = codec.value().get(), .context = calls.value().get(), .max_frame = config.max_frame}); !attached)
    return start_failed(outbox, "python", attached.error().message);
  send_ready(outbox);
  const auto end = main_loop.run(gil);
  if (end == loop::MainLoop::End::broken) {
    std::fprintf(stderr, "py_worker: protocol error: %s\n", main_loop.why().message.c_str());
    PYW_CHECK(attach(gil, {}).ok(), "the codec is still in use");
    return kExitProtocol;
  }
  if (end == loop::MainLoop::End::closed) ::_exit(0);  // nobody is left to clean up for, and the launcher ends us anyway
  tasks.finish(gil);
  run_exit_functions(gil);
  outbox.collect();
  handles.clear(gil);
  // What Python still runs at its end must not find a codec that is gone. That it cannot be taken back is nobody's trouble but ours.
  PYW_CHECK(attach(gil, {}).ok(), "the codec is still in use");
  return 0;
}

int run_worker() {
  if (auto ready = become_worker(); !ready) {
    std::fprintf(stderr, "py_worker: %s\n", ready.error().message.c_str());
    return kExitUsage;
  }
  port::Outbox outbox(Descriptors::kFramesOut);
  port::FrameReader reader(kMaxConfig);
  auto parsed = read_config(reader);
  if (!parsed) return start_failed(outbox, "config", parsed.error().message);
  const WorkerConfig config = parsed.take();
  reader.set_max_frame(config.max_frame);

  Arms arms;
  session::Session session(outbox, arms, {.max_callbacks = config.max_callbacks});
  InterruptPoint interrupts(session);
  loop::Inlet inlet(Descriptors::kFramesIn, std::move(reader), session);
  loop::Sentinel sentinel(inlet, session, outbox,
                          {Descriptors::kStdout, Descriptors::kStderr, Descriptors::kFramesOut, Descriptors::kCrash, config.output.rate,
                           config.output.line, config.output.credit});
  loop::ThreadWait thread_wait(session, sentinel, config.spin_us * 1000);
  arms.connect(interrupts, sentinel);
  if (inlet.begin() == loop::Inlet::State::broken) return start_failed(outbox, "config", inlet.why().message);

  auto uv_made = uv::Loop::make();  // before the limits: libuv aborts where it gets some descriptors and not all
  if (!uv_made) return start_failed(outbox, "worker", uv_made.error().message);
  if (auto done = apply_surroundings(config); !done) return start_failed(outbox, "config", done.error().message);
  auto executable = find_executable(config);
  if (!executable) return start_failed(outbox, "python", executable.error().message);
  // From here on the sentinel reads the output pipes, so that a chatty start cannot block, and hears the end of the BEAM.
  if (auto begun = sentinel.start(); !begun) return start_failed(outbox, "worker", begun.error().message + limits_text(config));
  sentinel.busy();

  int status = 0;
  {
    const std::unique_ptr<uv::Loop> loop = uv_made.take();
    uv::Loop& uv = *loop;
    install_fork_guard(uv_backend_fd(uv.get()));
    const InterpreterOptions options{executable.take(), config.path,         config.package,
                                     config.use_environment, Descriptors::kCrash, Arms::dump_signal()};
    if (auto started = start_interpreter(options); !started) {
      status = start_failed(outbox, "python", started.error().message + limits_text(config));
    } else {
      arms.can_dump();
      {
        const GilHeld gil;
        if (interrupts.install(gil))
          status = run_context(gil, config, uv, inlet, session, outbox, sentinel, thread_wait, interrupts);
        else
          status = start_failed(outbox, "python", "SIGINT's handler cannot be installed");
      }
      // A worker that could not do its work need not be tidy, and a broken one should not try.
      bool flushed = true;
      if (status == 0 && session.threads_wait())
        flushed = flush_streams(GilHeld());  // a daemon thread stands in erlang.call: it must never come back, so we keep the GIL until the end
      else if (status == 0)
        flushed = stop_interpreter();
      if (!flushed) std::fprintf(stderr, "py_worker: Python could not flush its streams\n");
    }
  }
  std::fflush(nullptr);
  sentinel.join();
  sentinel.drain_output();
  write_all(outbox, 1000);
  if (!outbox.pending()) sentinel.forget_output();
  ::_exit(status);  // not exit(): C++ and C exit handlers of extension modules have been known to crash after finalisation
}

}  // namespace
}  // namespace pyw

int main(int argc, char** argv) {
  if (PyImport_AppendInittab("_erlang_loop", &PyInit__erlang_loop) != 0) return pyw::kExitStart;
  if (argc >= 2 && std::strcmp(argv[1], "--python") == 0)
    return pyw::run_like_python(argc - 1, argv + 1, pyw::package_beside_program());
  if (argc > 1) {
    std::fprintf(stderr, "usage: py_worker --python ARGS...\n(Without arguments it is started by py_launcher.)\n");
    return pyw::kExitUsage;
  }
  return pyw::run_worker();
}
