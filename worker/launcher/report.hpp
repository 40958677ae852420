#pragma once

#include <sys/resource.h>

#include <cstddef>

#include "launcher/black_box.hpp"

namespace pyw::launcher {

/// How a worker's life ended: all that the report says beyond what the black box holds.
struct Ending {
  int status = 0;                   ///< as wait4 gave it; of no meaning when there is a failure
  rusage usage{};                   ///< of the worker and of the children it waited for
  bool killed = false;              ///< by our SIGKILL: end of the BEAM, or asked to
  unsigned descendants = 0;         ///< processes of the worker that were still there and were killed
  char failure[4096 + 512] = {};    ///< why the worker could not be started
  std::size_t failure_length = 0;   ///< 0: it was started
};

/// Writes the report as docs/protocol.md section 7 has it. Call it once, when no process of the worker is left: it empties the pipes.
/// False with errno when the report could not be written whole.
bool write_report(const BlackBox& box, const Ending& ending);

/// Whether somebody else has the report open. `unknown` on a kernel that cannot tell.
enum class Held { yes, no, unknown };
Held report_is_held(int report);

}  // namespace pyw::launcher
