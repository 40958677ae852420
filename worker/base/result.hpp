#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace pyw {

/// Why something expected did not work. Each code has one row in docs/errors.md.
enum class Errc {
  bad_frame,    ///< the byte stream is not frames any more
  bad_term,     ///< ETF that is malformed, too deep, too large, or not wanted here
  bad_config,   ///< the start configuration
  bad_request,  ///< a request that is not what its kind asks for
  os,           ///< a system call failed; the message names it
  python,       ///< CPython could not do it
};

struct Error {
  Errc code;
  std::string message;
};

/// A value or the reason why there is none. Ask ok() first; value() of a failure is a bug of the caller.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}  // NOLINT: a value is a result
  Result(Error error) : state_(std::move(error)) {}
  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { assert(ok()); return std::get<0>(state_); }
  const T& value() const& { assert(ok()); return std::get<0>(state_); }
  T&& take() { assert(ok()); return std::get<0>(std::move(state_)); }
  const Error& error() const { assert(!ok()); return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}
  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { assert(failed_); return error_; }

 private:
  bool failed_ = false;
  Error error_{};
};

}  // namespace pyw
