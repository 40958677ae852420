#pragma once

#include <cstdint>
#include <string_view>

#include "port/header.hpp"
#include "python/ref.hpp"

namespace pyw {

/// What code knows of the request it runs for: a context variable, so that tasks, asyncio.to_thread() and whatever else copies the context
/// inherit it. Its value is a `_erlang.Call` with the attributes id, deadline (ns of CLOCK_MONOTONIC, 0: none) and trace (str or None).
/// Each request runs in a context of its own, a copy of the one that was left behind by the start of the worker.
/// GIL: needed by everything here.
class CurrentCall {
 public:
  struct Facts {
    std::uint64_t id = 0;
    std::uint64_t deadline = 0;
    std::string_view trace{};  ///< lent by the Call, which the context keeps
  };

  /// Err: python.
  static Result<CurrentCall> make(const Gil&);
  /// Of the calling thread's context; all zero outside of requests.
  Facts facts(const Gil&) const;
  /// New reference to the Call, or to None.
  Ref object(const Gil&) const;
  /// From now on the code of this context, and what it asks of Erlang, has this trace (a str, lent). Owns: the returned token, for reset().
  /// Null, false: an exception is pending.
  Ref set_trace(const Gil&, PyObject* trace) const;
  bool reset(const Gil&, PyObject* token) const;

  /// As long as this lives, the calling thread runs in a new context that belongs to the request.
  class Scope {
   public:
    /// On failure a Python exception is pending and entered() is false.
    Scope(const Gil&, const CurrentCall&, const port::Header&);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    bool entered() const { return static_cast<bool>(context_); }

   private:
    Ref context_;
  };

 private:
  CurrentCall(Ref type, Ref variable) : type_(std::move(type)), variable_(std::move(variable)) {}
  Ref type_;
  Ref variable_;
};

}  // namespace pyw
