#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "python/erlang_module.hpp"

/// Starts the interpreter that PYW_PYTHON_EXECUTABLE names, isolated from the environment, and runs the tests without the GIL held.
int main(int argc, char** argv) {
  PyPreConfig before;
  PyPreConfig_InitIsolatedConfig(&before);
  before.allocator = PYMEM_ALLOCATOR_MALLOC;  // CPython's own hides overruns from AddressSanitizer
  before.utf8_mode = 1;
  PyStatus status = Py_PreInitialize(&before);
  if (PyStatus_Exception(status)) Py_ExitStatusException(status);
  PyImport_AppendInittab("_erlang", PyInit__erlang);
  PyConfig config;
  PyConfig_InitIsolatedConfig(&config);
  status = PyConfig_SetBytesString(&config, &config.program_name, PYW_PYTHON_EXECUTABLE);
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (PyStatus_Exception(status)) Py_ExitStatusException(status);
  PyThreadState* const main_thread = PyEval_SaveThread();
  const int failed = doctest::Context(argc, argv).run();
  PyEval_RestoreThread(main_thread);
  return Py_FinalizeEx() < 0 ? 1 : failed;
}
