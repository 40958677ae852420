#include "python/sandbox.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <string_view>

namespace pyw {
namespace {

using namespace std::string_view_literals;

/// Audit events (PEP 578). os.popen, multiprocessing and asyncio come to one of these; aio.spawn is the event loop's own way.
constexpr std::array kBlocked{"os.fork"sv,  "os.forkpty"sv, "os.exec"sv,          "os.posix_spawn"sv, "os.spawn"sv,
                              "os.system"sv, "pty.spawn"sv,  "subprocess.Popen"sv, "aio.spawn"sv};

std::atomic<bool> installed{false};

void raise_blocked(const char* what) {
  PyErr_Format(PyExc_RuntimeError,
               "%s is blocked in Erlang VM context. Let Erlang run the program, with a port say, and call it from here with erlang.call().", what);
}

/// Called for every event of the interpreter. It is in C, and so no object that Python code could find and change.
int refuse(const char* event, PyObject*, void*) {
  if (std::find(kBlocked.begin(), kBlocked.end(), std::string_view(event)) == kBlocked.end()) return 0;
  raise_blocked(event);
  return -1;
}

PyObject* blocked_fork_exec(PyObject*, PyObject*, PyObject*) {
  raise_blocked("_posixsubprocess.fork_exec");
  return nullptr;
}

PyMethodDef fork_exec{"fork_exec", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(blocked_fork_exec)), METH_VARARGS | METH_KEYWORDS,
                      "Blocked."};

/// What multiprocessing starts its children with tells no audit hook.
bool block_fork_exec() {
  const Ref module = Ref::steal(PyImport_ImportModule("_posixsubprocess"));
  const Ref function = Ref::steal(module ? PyCFunction_New(&fork_exec, nullptr) : nullptr);
  return function && PyObject_SetAttrString(module.get(), "fork_exec", function.get()) == 0;
}

PyObject* install(PyObject*, PyObject*) {
  const GilHeld gil;
  if (!install_sandbox(gil)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* ask(PyObject*, PyObject*) { return PyBool_FromLong(is_sandboxed()); }

PyMethodDef functions[] = {
    {"install_sandbox", install, METH_NOARGS, "install_sandbox()\n--\n\nFrom now on nothing in Python starts another process. Cannot be undone."},
    {"is_sandboxed", ask, METH_NOARGS, "is_sandboxed()\n--\n\nWhether it has been installed."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

bool install_sandbox(const Gil&) {
  if (installed) return true;
  if (!block_fork_exec() || PySys_AddAuditHook(refuse, nullptr) != 0) return false;
  // A hook that was there before may refuse ours, and when it does so with a RuntimeError nobody is told.
  if (PySys_Audit("aio.spawn", nullptr) == 0) {
    PyErr_SetString(PyExc_PermissionError, "another audit hook does not let the sandbox be installed");
    return false;
  }
  PyErr_Clear();  // the refusal that we have just asked for
  installed = true;
  return true;
}

bool is_sandboxed() { return installed; }

bool add_sandbox_functions(const Gil&, PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace pyw
