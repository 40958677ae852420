#pragma once

#include "aio/loop.hpp"

namespace pyw::aio {

/// While it lives, the loop counts as the one that runs on this thread, and asynchronous generators that begin are its. At its end all is as it was:
/// another loop's coroutine may stand in a blocking call further down the stack.
/// GIL: held at both ends.
class RunScope {
 public:
  RunScope(const Gil& gil, Loop& loop);
  ~RunScope();
  RunScope(const RunScope&) = delete;
  RunScope& operator=(const RunScope&) = delete;
  /// False: an exception is pending, and the loop does not count as running.
  bool ok() const { return ok_; }

 private:
  Loop& loop_;
  const unsigned long thread_before_;
  Ref loop_before_;
  Ref hooks_before_;
  bool ok_ = false;
};

}  // namespace pyw::aio
