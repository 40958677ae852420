#pragma once

#include "etf/writer.hpp"
#include "python/codec.hpp"
#include "python/ref.hpp"

namespace pyw {

/// Takes the pending exception and writes it as `{python, Map}`: section 6 of docs/protocol.md says what is in the map. Always
/// writes a whole term when something is pending, whatever state Python is in (no memory, a `__str__` that raises, chains that are
/// loops): a part that cannot be had is empty. False: nothing was pending.
///
/// `type` is the class's __qualname__. `message` is str(exception), at most 64 KiB. `traceback` has at most 100 frames: of more, the
/// middle is one frame without file that says how many there were. `cause` and `context` go ten levels deep at most; `context` is
/// `none` where Python would not print it. `formatted` is what Python would print, chain included; in the maps of causes and contexts
/// it is the exception's own last lines only. The first call imports `traceback`. All exceptions are alike here, SystemExit and
/// KeyboardInterrupt among them. GIL: needed. Runs Python code.
[[nodiscard]] bool write_exception(const Gil&, Codec&, etf::Writer&);

}  // namespace pyw
