#pragma once

#include <cstddef>
#include <cstdint>

#include "aio/state.hpp"

namespace pyw::aio {

struct LoopObject;

/// What call_soon and its like return: a callback that is to be run once. asyncio.Handle is its base class in Python's eyes, asyncio.TimerHandle
/// that of a timer's; the room in front is what those keep in their slots, and stays empty.
///
/// Not tracked by the garbage collector while it waits for its turn: then the loop holds it, so it cannot be garbage, and most handles never
/// live any other way. One that is dropped, cancelled or has run holds nothing any more. Invariant: callback is null if and only if
/// it was cancelled or has run.
struct HandleObject {
  PyObject_HEAD
  PyObject* of_base[10];
  LoopObject* loop;  ///< owned, as everything below
  PyObject* callback;
  PyObject* context;
  PyObject* args[3];      ///< the first nargs, or one tuple of them
  PyObject* source_traceback;
  PyObject* repr;
  std::uint32_t nargs;
  bool args_are_tuple;
  bool cancelled;
  bool repeats;  ///< a descriptor's: runs each time that is ready, and is not cleared
  bool is_timer;
  bool scheduled;
  double when;        ///< timers: seconds on loop.time()'s clock
  std::size_t place;  ///< timers: TimerHeap's

  /// The arguments as a tuple; new reference.
  PyObject* arguments() const;
  /// Lets go of everything. What that ends may run Python code.
  void clear();
};

/// Makes the two types. False: an exception is pending.
bool make_handle_types(const Gil& gil, State& state, PyObject* module);

/// A handle for `callback(*args)` in `context` (null: a copy of the current one). New reference; null: an exception is pending.
HandleObject* new_handle(const Gil& gil, State& state, LoopObject* loop, bool timer, PyObject* callback, PyObject* const* args, std::size_t nargs,
                         PyObject* context);

/// For tp_traverse of who holds a handle that is not tracked: what only the handle has counts as the holder's. Not for one that somebody else
/// holds as well; that is then kept alive, which is safe.
int visit_held(HandleObject* handle, visitproc visit, void* arg);

/// Runs it, unless it is cancelled. An exception goes to the loop's exception handler; false when it is one that ends the loop's run
/// (KeyboardInterrupt, SystemExit): it is pending.
bool run_handle(const Gil& gil, HandleObject* handle);

}  // namespace pyw::aio
