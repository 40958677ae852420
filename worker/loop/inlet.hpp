#pragma once

#include <mutex>

#include "port/frame_reader.hpp"
#include "session/session.hpp"

namespace pyw::loop {

/// The reading end of the frame pipe. Two threads read it, one at a time: main while it waits for work, the sentinel while main is in Python.
/// Threads: any; the lock is held for one non-blocking read and the parsing of what it brought. GIL: not needed.
class Inlet {
 public:
  /// `fd` must be non-blocking.
  Inlet(int fd, port::FrameReader&& reader, session::Session& session) : fd_(fd), reader_(std::move(reader)), session_(session) {}

  enum class State {
    nothing,  ///< the pipe is empty
    some,     ///< frames or a part of one came
    ended,    ///< the BEAM closed its end
    broken,   ///< not frames any more: why() says what
  };
  State read();
  /// Hands on the frames that the reader already holds: once, before the first read().
  State begin();
  const Error& why() const { return why_; }
  int fd() const { return fd_; }

 private:
  State hand_on();

  int fd_;
  std::mutex mutex_;
  port::FrameReader reader_;
  session::Session& session_;
  Error why_{};
};

}  // namespace pyw::loop
