#pragma once

#include "aio/pipe_end.hpp"
#include "aio/water_marks.hpp"
#include "aio/write_queue.hpp"

namespace pyw::aio {

/// The transport of an end of a pipe into which is written: what connect_write_pipe gives, and the input of child processes.
///
/// The first write of a turn of the loop goes out at once; what is written after it in the same turn is collected and goes out together at its end.
/// What the pipe does not take waits in a queue, and the protocol is told to pause above the high-water mark. When nobody can read any more, the
/// protocol is told so without a write.
/// Threads: the loop's. GIL: held.
class WritePipe final : public PipeEnd {
 public:
  using PipeEnd::PipeEnd;

  // False: an exception is pending, for the caller.
  bool write(const Gil& gil, PyObject* data);
  bool write_lines(const Gil& gil, PyObject* lines);
  /// When all has been sent.
  bool close(const Gil& gil) override;
  bool force_close(const Gil& gil, PyObject* exception) override;
  /// What is only collected goes out before.
  bool abort(const Gil& gil);
  bool set_marks(const Gil& gil, WaterMarks marks);
  const WaterMarks& marks() const { return marks_; }
  std::size_t queued() const { return queue_.size(); }
  bool protocol_paused() const { return protocol_paused_; }
  /// Somebody else may learn of the end of the reader: not of a terminal's, which is asyncio's rule.
  void expect_hang_up(bool on) { expects_hang_up_ = on; }
  const char* activity() const override { return blocked_ ? " polling" : " idle"; }

  int traverse(visitproc visit, void* arg) const override;

 protected:
  int wanted() const override { return (expects_hang_up_ ? Watcher::kHangUp : 0) | (watches_room_ ? Watcher::kWritable : 0); }
  bool ready(const Gil& gil, int events) override;
  /// A pipe that breaks is nothing to report: the protocol is told.
  bool is_news(const Gil& gil, PyObject* exception) const override;

 private:
  static bool flush_collected(const Gil& gil, PyObject* owner);
  bool may_write(const Gil& gil, PyObject* data);
  bool write_now(const Gil& gil, PyObject* data, std::size_t& sent);
  bool has_queued(const Gil& gil);
  /// Something waits, and not for the pipe.
  bool has_collected() const { return !queue_.empty() && !blocked_ && !lost(); }
  void block();
  bool flush(const Gil& gil);
  bool tell(const Gil& gil, bool pause);

  WriteQueue queue_;
  WaterMarks marks_;
  std::uint64_t wrote_in_turn_ = 0;  ///< the turn of the loop in which the last write went out at once
  bool expects_hang_up_ = false;
  bool blocked_ = false;       ///< the pipe is full
  bool watches_room_ = false;  ///< longer than it is blocked: most who had to wait have to wait again
  bool flush_queued_ = false;
  bool protocol_paused_ = false;
};

}  // namespace pyw::aio
