#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "port/outbox.hpp"
#include "python/code_runner.hpp"
#include "python/codec.hpp"
#include "python/handles.hpp"
#include "python/interrupt.hpp"
#include "python/names.hpp"

namespace pyw {

/// Takes over an awaitable that a call returned.
class TaskHost {
 public:
  virtual ~TaskHost() = default;
  /// Starts `awaitable` as the task of request `id` on the context's loop. False: a Python exception is pending.
  virtual bool start_task(const Gil& gil, std::uint64_t id, std::uint8_t flags, PyObject* awaitable) = 0;
};

/// Runs requests in the interpreter: finds what is to be called, converts the arguments straight from the frame, calls, and writes the
/// answer as a frame into the outbox. Gives exactly one answer for each request that it does not hand to the TaskHost.
/// Threads: the main thread. GIL: held.
class Executor {
 public:
  struct Parts {
    Codec& codec;
    Handles& handles;
    InterruptPoint& interrupts;
    port::Outbox& outbox;
    TaskHost& tasks;
    etf::Limits limits;
    std::uint64_t max_frame;
  };
  Executor(const Gil& gil, const Parts& parts);

  enum class Outcome { answered, task };
  Outcome run(const Gil& gil, const port::Frame& frame);

  /// Answers request `id` with the value, or with the pending exception when it is empty.
  void answer(const Gil& gil, std::uint64_t id, std::uint8_t flags, const Ref& value);
  void answer_ended(std::uint64_t id, port::Ended how);

  /// Runs the configuration's init code or imports its module. False: the exception's term has been written to `why`.
  bool run_init(const Gil& gil, const std::string& text, bool is_module, etf::Writer& why);

 private:
  struct Arguments;
  /// Why the request at hand failed when no Python exception is pending.
  struct Failure {
    BadTerm bad{};
    std::string bad_request;
  };

  Ref dispatch(const Gil& gil, const port::Frame& frame);
  Ref call(const Gil& gil, etf::Reader& in);
  Ref call_method(const Gil& gil, etf::Reader& in);
  Ref get_attribute(const Gil& gil, etf::Reader& in);
  Ref run_code(const Gil& gil, etf::Reader& in, CodeRunner::Mode mode);
  Ref invoke(const Gil& gil, PyObject* callable, etf::Reader& in);

  Ref decode(const Gil& gil, etf::Reader& in, std::string_view prefix);
  Ref decode_referenced(const Gil& gil, etf::Reader& in);
  bool read_positional(const Gil& gil, etf::Reader& in, Arguments& out);
  bool read_keywords(const Gil& gil, etf::Reader& in, Arguments& out);
  Ref read_locals(const Gil& gil, etf::Reader& in);
  bool expect_tuple(etf::Reader& in, std::uint32_t arity);
  bool bad_request(std::string why);
  bool malformed(const etf::Reader& in);

  void answer_failure(const Gil& gil, std::uint64_t id);
  void answer_exception(const Gil& gil, std::uint64_t id);
  void answer_bad_term(std::uint64_t id, const BadTerm& bad);
  void answer_text(std::uint64_t id, std::string_view tag, std::string_view why);
  void answer_atom(port::Kind kind, std::uint64_t id, std::string_view atom);

  Parts parts_;
  port::FrameBuilder reply_;
  CodeRunner code_;
  TargetCache targets_;
  Failure failure_;
};

}  // namespace pyw
