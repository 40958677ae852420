#pragma once

#include <cstddef>

namespace pyw {

/// The file that outlives the worker (docs/protocol.md, section 1): the launcher makes it, the worker writes it, the launcher reads it.
struct CrashFile {
  static constexpr std::size_t kStack = 64 * 1024;  ///< from the beginning: what faulthandler wrote
  /// Then one record for stdout and one for stderr: `Length:32` in the machine's byte order and as many bytes, which the worker has
  /// taken out of the output pipe and not yet sent on.
  static constexpr std::size_t kRecord = 32 * 1024;
  static constexpr std::size_t kSize = kStack + 2 * kRecord;
};

}  // namespace pyw
