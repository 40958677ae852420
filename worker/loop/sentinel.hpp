#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "base/unique_fd.hpp"
#include "loop/in_hand.hpp"
#include "loop/inlet.hpp"
#include "port/outbox.hpp"
#include "session/output.hpp"

namespace pyw::loop {

/// The thread that is there when the main thread is not. It always reads the captured output; while main is in Python it also reads the frame pipe
/// (so that cancel, interrupt and ping work whatever Python does), writes what waits in the outbox, and ends the process when the
/// BEAM is gone. It never takes the GIL.
///
/// It sleeps without a timer while nothing runs. Main wakes it once per burst of calls, with busy(); then it looks each millisecond
/// whether main has been in the same call since the last look, and if so takes over reading until main is back.
/// Threads: busy() and idle() main only; more_credit() any.
class Sentinel {
 public:
  struct Options {
    int stdout_fd = 6;  ///< read ends, non-blocking
    int stderr_fd = 7;
    int frames_out = 4;
    int crash_fd = 5;
    std::uint64_t output_rate = 1000;
    std::uint64_t output_line = 8192;
    std::uint64_t output_credit = 256;
  };
  Sentinel(Inlet& inlet, session::Session& session, port::Outbox& outbox, const Options& options);
  ~Sentinel();  ///< stops and joins

  /// Err(os): there is no thread to be had.
  Result<void> start();
  /// Main enters Python: from now on it may not come back for long.
  void busy() {
    if (!is_busy()) activity_.fetch_add(1, std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_seq_cst)) wake();
  }
  /// Main is back and reads the pipe itself.
  /// Look for work after this, and only then sleep: what the sentinel has read before it is in the session by now; for what it reads later
  /// it wakes main.
  void idle() {
    if (is_busy()) activity_.fetch_add(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  /// How to wake main out of its sleep, from the sentinel's thread: set before the first idle(), taken back (empty) before what it uses ends.
  void on_work(std::function<void()> wake_main) {
    const std::lock_guard lock(waker_);
    wake_main_ = std::move(wake_main);
  }
  /// A thread other than main begins to wait for the BEAM: from now on the pipe is read also while main has just entered Python.
  void attend() {
    if (!reading_.load(std::memory_order_seq_cst)) wake();
  }
  /// One look at the pipe by a thread that waits for the BEAM: what came is where it belongs after this, and main awake if it is for main.
  void read_for_a_thread();
  /// The outbox has more than the pipe would take from a thread: main or we go on when there is room. There may be requests as well.
  void nudge() {
    wake();
    const std::lock_guard lock(waker_);
    if (wake_main_) wake_main_();
  }
  void more_credit(std::uint64_t lines) { credit_.fetch_add(lines, std::memory_order_relaxed); }
  /// Reads what the output pipes hold right now and sends it; used at the end. Only after the thread has been joined.
  void join();
  void drain_output();
  /// All that drain_output() sent has been written.
  void forget_output();

 private:
  bool is_busy() const { return activity_.load(std::memory_order_relaxed) & 1; }  // only main changes it
  struct Capture {
    int fd;
    std::uint8_t flag;
    session::LineSplitter lines;
    session::RateLimit rate;
    InHand hand;
    std::uint64_t dropped = 0;
    bool open = true;
  };
  void run();
  void wake();
  void read_output(Capture& capture);
  void emit(Capture& capture, std::string_view line, bool cut);
  bool take_credit(std::uint64_t reserved);
  bool owes_count() const { return stdout_.dropped + stderr_.dropped != 0; }
  void report_dropped();
  void send_dropped(Capture& capture);
  bool look_at_main();
  bool read_frames();
  void write_frames();

  Inlet& inlet_;
  session::Session& session_;
  port::Outbox& outbox_;
  const int frames_out_;
  Capture stdout_;
  Capture stderr_;
  UniqueFd wake_;
  std::mutex waker_;
  std::function<void()> wake_main_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> asleep_{false};
  std::atomic<bool> reading_{false};
  std::atomic<std::uint64_t> activity_{0};  ///< odd: main is in Python
  std::atomic<std::uint64_t> credit_;
  // The sentinel's own:
  std::uint64_t seen_ = 0;
  int quiet_ = 0;
  std::uint64_t signal_at_ = 0;
  bool taken_over_ = false;
  bool emitted_ = false;  ///< lines of ours may wait in the outbox
};

}  // namespace pyw::loop
