#pragma once

#include "aio/pipe_end.hpp"

namespace pyw::aio {

class ReaderBuffer;

/// The transport of an end of a pipe from which is read: what connect_read_pipe gives, and the output of child processes.
/// Threads: the loop's. GIL: held.
class ReadPipe final : public PipeEnd {
 public:
  using PipeEnd::PipeEnd;

  // False: an exception is pending, for the caller.
  bool close(const Gil& gil) override { return loop().check_thread(gil) && force_close(gil, Py_None); }
  bool pause(const Gil& gil);
  bool resume(const Gil& gil);
  bool is_paused() const { return paused_; }
  bool is_reading() const { return !paused_ && !closing_; }
  const char* activity() const override { return begun_ && is_reading() ? " polling" : " idle"; }

 protected:
  int wanted() const override { return is_reading() ? Watcher::kReadable : 0; }
  bool ready(const Gil& gil, int events) override;
  bool is_always_ready(const Gil& gil) override;
  /// EIO: the other side of a terminal is gone, which is how its data ends.
  bool is_news(const Gil& gil, PyObject* exception) const override;

 private:
  static bool read_without_watching(const Gil& gil, PyObject* owner);
  Ref received(const Gil& gil, ssize_t& n);
  bool read_into_reader(const Gil& gil, ReaderBuffer& buffer);
  bool read_nothing(const Gil& gil, ssize_t n);
  bool end_of_data(const Gil& gil);

  bool paused_ = false;
  bool read_queued_ = false;
  std::size_t last_read_ = 0;  ///< how much the last read brought
};

}  // namespace pyw::aio
