#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "python/gil.hpp"

namespace pyw {

struct InterpreterOptions {
  std::string executable;         ///< the python whose environment (venv or installation) we live in
  std::vector<std::string> path;  ///< put before what `site` found, in this order
  std::string package;            ///< folder that holds our `erlang` package
  bool use_environment = false;   ///< look at PYTHON* variables
  int crash_fd = -1;              ///< faulthandler writes here; -1: nowhere
  int dump_signal = 0;            ///< with this signal all stacks are written to crash_fd; 0: none
};

/// Starts CPython in this process: UTF-8 mode, isolated from ambient PYTHON* unless asked, no argv. The caller (the main thread) then
/// holds the GIL. Starts nothing lazily: neither asyncio nor logging is imported. Err(python) in words for a person.
Result<void> start_interpreter(const InterpreterOptions& options);

/// Python's stdout and stderr; C's are the C library's. False: one of them refused.
bool flush_streams(const Gil&);

/// Runs atexit functions, joins non-daemon threads, flushes. GIL: held, main thread. False: something failed to flush.
bool stop_interpreter();

/// `py_worker --python ARGS…`: what `python ARGS…` does, with our modules present. Returns the exit status.
int run_like_python(int argc, char** argv, const std::string& package);

/// The folder of the Python package next to this program, for run_like_python.
std::string package_beside_program();

}  // namespace pyw
