#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "port/outbox.hpp"
#include "python/code_runner.hpp"
#include "python/codec.hpp"
#include "python/current_call.hpp"
#include "python/handles.hpp"
#include "python/interrupt.hpp"
#include "python/names.hpp"

namespace pyw {

/// Takes over an awaitable that a request returned.
class TaskHost {
 public:
  virtual ~TaskHost() = default;
  /// Starts `awaitable` as the task of request `id`, on the context's loop, or, if `loop` is given, on the loop that runs in this thread
  /// and that this mailbox serves. False: a Python exception is pending.
  virtual bool start_task(const Gil& gil, std::uint64_t id, std::uint8_t flags, PyObject* awaitable, session::Waiter* loop) = 0;
};

/// Runs requests in the interpreter: finds what is to be called, converts the arguments straight from the frame, calls, and writes the
/// answer as a frame into the outbox. Gives exactly one answer for each request that it does not hand to the TaskHost. What it calls may
/// call Erlang, and so come back here with a nested request.
/// Threads: any that the frame was taken on. GIL: held.
class Executor {
 public:
  struct Parts {
    Codec& codec;
    Handles& handles;
    InterruptPoint& interrupts;
    port::Outbox& outbox;
    TaskHost& tasks;
    CurrentCall& current;
    etf::Limits limits;
    std::uint64_t max_frame;
  };
  Executor(const Gil& gil, const Parts& parts);

  enum class Outcome { answered, task };
  /// Where a request runs, and with it what becomes of an awaitable that it returns.
  struct Place {
    enum class Kind : std::uint8_t {
      main,    ///< a task of the context's loop
      thread,  ///< run to its end right here, by a loop made for it
      loop,    ///< a task of the loop that runs here
    };
    Kind kind = Kind::main;
    session::Waiter* loop = nullptr;  ///< with Kind::loop
  };
  Outcome run(const Gil& gil, const port::Frame& frame, Place place);

  /// Whether a request was answered as interrupted or cancelled since the last time somebody asked.
  bool take_interrupted(const Gil&) { return std::exchange(interrupted_, false); }

  /// Answers request `id` with the value, or with the pending exception when it is empty.
  void answer(const Gil& gil, std::uint64_t id, std::uint8_t flags, const Ref& value);
  void answer_ended(std::uint64_t id, port::Ended how);
  /// The exception that request `id` will end with, on a thread other than main, is our doing: it was cancelled.
  void stopped_elsewhere(const Gil&, std::uint64_t id) { stopped_.insert(id); }

  /// Runs the configuration's init code or imports its module. False: the exception's term has been written to `why`.
  bool run_init(const Gil& gil, const std::string& text, bool is_module, etf::Writer& why);

 private:
  struct Arguments;
  class Run;
  /// Why a request failed when no Python exception is pending.
  struct Failure {
    BadTerm bad{};
    std::string bad_request;
  };
  /// The builder for one answer: the one we keep, or one of its own for an answer that is made while another is being made.
  class Reply;

  Ref run_to_end(const Gil& gil, PyObject* awaitable);
  void answer_failure(const Gil& gil, std::uint64_t id, const Failure& failure);
  void answer_exception(const Gil& gil, std::uint64_t id);
  void answer_interrupt(std::uint64_t id, session::Interrupt why);
  void answer_bad_term(std::uint64_t id, const BadTerm& bad);
  void answer_text(std::uint64_t id, std::string_view tag, std::string_view why);
  void answer_atom(port::Kind kind, std::uint64_t id, std::string_view atom);

  Parts parts_;
  port::FrameBuilder reply_;
  bool reply_in_use_ = false;
  CodeRunner code_;
  TargetCache targets_;
  std::unordered_set<std::uint64_t> stopped_;
  bool interrupted_ = false;
};

}  // namespace pyw
