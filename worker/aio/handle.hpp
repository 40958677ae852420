#pragma once

#include <cstddef>
#include <cstdint>

#include "aio/state.hpp"

namespace pyw::aio {

struct LoopObject;

/// What call_soon and its like return: a callback that is to be run once. asyncio.Handle is its base class in Python's eyes, asyncio.TimerHandle
/// that of a timer's. What those keep in slots lies in the very same places, under attributes of our own that hide theirs; the check when the types
/// are made knows where each place is.
///
/// Not tracked by the garbage collector while it waits for its turn: then the loop holds it, so it cannot be garbage, and most handles never
/// live any other way. One that was cancelled holds nothing any more, one that has run nothing but its loop and context. Invariant: callback is null if and only if it was cancelled or has run.
struct HandleObject {
  PyObject_HEAD
  LoopObject* loop;  ///< owned, as everything below
  PyObject* callback;
  PyObject* context;
  PyObject* args[3];  ///< the first nargs, or one tuple of them
  PyObject* source_traceback;
#if PY_VERSION_HEX < 0x030C0000
  PyObject* weak_references;  ///< asyncio.Handle's __weakref__; newer Pythons keep it in front of the object
#endif
  PyObject* repr;
  PyObject* spare;  ///< the second slot of asyncio.TimerHandle
  std::uint8_t nargs;
  bool args_are_tuple : 1;
  bool cancelled : 1;
  bool repeats : 1;  ///< a descriptor's: runs each time that is ready, and is not cleared
  bool is_timer : 1;
  bool scheduled : 1;
  std::uint32_t place;  ///< timers: TimerHeap's
  double when;          ///< timers: seconds on loop.time()'s clock

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

/// Gives back the loop's reference to one that will not run. If somebody else has it, too, it is an object like others from now on.
void drop_handle(HandleObject* handle);

/// For tp_traverse of who holds a handle that is not tracked: what only the handle has counts as the holder's. Not for one that somebody else
/// holds as well; that is then kept alive, which is safe.
int visit_held(HandleObject* handle, visitproc visit, void* arg);

/// Runs it, unless it is cancelled. An exception goes to the loop's exception handler; false when it is one that ends the loop's run
/// (KeyboardInterrupt, SystemExit): it is pending.
bool run_handle(const Gil& gil, HandleObject* handle);

}  // namespace pyw::aio
