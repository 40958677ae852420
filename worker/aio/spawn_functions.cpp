#include "aio/spawn_functions.hpp"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <new>

#include "aio/spawn.hpp"

namespace pyw::aio {
namespace {

/// Strings for the system: bytes objects that hold them, and a list of pointers that ends with a null.
class Strings {
 public:
  /// False: an exception is pending (no string, or one with a NUL inside).
  bool take(const Gil&, PyObject* sequence, const char* what) {
    const Ref fast = Ref::steal(PySequence_Fast(sequence, what));
    if (!fast) return false;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast.get()); ++i) {
      PyObject* bytes = nullptr;
      if (!PyUnicode_FSConverter(PySequence_Fast_GET_ITEM(fast.get(), i), &bytes)) return false;
      held_.push_back(Ref::steal(bytes));
    }
    return true;
  }
  std::vector<const char*> pointers() const {
    std::vector<const char*> all;
    all.reserve(held_.size() + 1);
    for (const Ref& bytes : held_) all.push_back(PyBytes_AS_STRING(bytes.get()));
    return all;
  }

 private:
  std::vector<Ref> held_;
};

/// Our own environment as it is now. setenv() of another thread may replace the table while we wait; what it points to stays.
std::vector<const char*> own_environment() {
  std::vector<const char*> all;
  for (char** at = environ; at && *at; ++at) all.push_back(*at);
  return all;
}

bool take_numbers(const Gil&, PyObject* sequence, std::vector<int>& numbers) {
  const Ref fast = Ref::steal(PySequence_Fast(sequence, "pass_fds must be a sequence"));
  if (!fast) return false;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast.get()); ++i) {
    const long number = PyLong_AsLong(PySequence_Fast_GET_ITEM(fast.get(), i));
    if (number == -1 && PyErr_Occurred()) return false;
    if (number < 0 || number > 0x7fffffff || (!numbers.empty() && number < numbers.back())) {
      PyErr_SetString(PyExc_ValueError, "bad value(s) in fds_to_keep");
      return false;
    }
    numbers.push_back(static_cast<int>(number));
  }
  return true;
}

PyObject* raise(const Spawned& failed, PyObject* program, PyObject* cwd) {
  errno = failed.error;
  switch (failed.step) {
    case Spawned::Step::exec: return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, program);
    case Spawned::Step::chdir: return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, cwd);
    default: return PyErr_SetFromErrno(PyExc_OSError);
  }
}

PyObject* spawn_with(const Gil& gil, PyObject* arguments) {
  PyObject *program, *programs, *argv, *env, *cwd, *pass_fds;
  SpawnPlan plan;
  int restore_signals, new_session;
  if (!PyArg_ParseTuple(arguments, "OOOOO(iii)Oppii:spawn", &program, &programs, &argv, &env, &cwd, &plan.std_fds[0], &plan.std_fds[1],
                        &plan.std_fds[2], &pass_fds, &restore_signals, &new_session, &plan.process_group, &plan.umask))
    return nullptr;
  Strings program_strings, argv_strings, env_strings, cwd_string;
  const Ref one_cwd = Ref::steal(cwd == Py_None ? PyTuple_New(0) : PyTuple_Pack(1, cwd));
  if (!one_cwd || !program_strings.take(gil, programs, "programs must be a sequence") ||
      !argv_strings.take(gil, argv, "argv must be a sequence") || !cwd_string.take(gil, one_cwd.get(), "cwd"))
    return nullptr;
  if (env != Py_None && !env_strings.take(gil, env, "env must be a sequence")) return nullptr;
  plan.programs = program_strings.pointers();
  plan.argv = argv_strings.pointers();
  plan.argv.push_back(nullptr);
  plan.env = env == Py_None ? own_environment() : env_strings.pointers();
  plan.env.push_back(nullptr);
  if (cwd != Py_None) plan.cwd = cwd_string.pointers().front();
  plan.close_others = pass_fds != Py_None;
  if (plan.close_others && !take_numbers(gil, pass_fds, plan.kept)) return nullptr;
  plan.restore_signals = restore_signals != 0;
  plan.new_session = new_session != 0;
  if (PySys_Audit("aio.spawn", "OO", program, argv) < 0) return nullptr;
  Spawned made;
  {
    const GilRelease released(gil);
    made = spawn(plan);
  }
  if (made.error != 0) return raise(made, program, cwd);
  return Py_BuildValue("(ii)", made.pid, made.pidfd);
}

PyObject* spawn_process(PyObject*, PyObject* arguments) {
  const GilHeld gil;
  try {
    return spawn_with(gil, arguments);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

PyObject* can_spawn_here(PyObject*, PyObject*) { return PyBool_FromLong(can_spawn()); }

PyObject* open_pidfd_of(PyObject*, PyObject* pid) {
  const long number = PyLong_AsLong(pid);
  if (number == -1 && PyErr_Occurred()) return nullptr;
  const int fd = open_pidfd(static_cast<pid_t>(number));
  return fd < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(fd);
}

PyMethodDef functions[] = {
    {"spawn", spawn_process, METH_VARARGS,
     "spawn(program, programs, argv, env, cwd, std_fds, pass_fds, restore_signals, new_session, process_group, umask, /)\n--\n\n"
     "Starts a child process; (pid, pidfd), the latter -1 where there is none. pass_fds None: no descriptor is closed. OSError with program "
     "or cwd as filename."},
    {"can_spawn", can_spawn_here, METH_NOARGS, "can_spawn()\n--\n\nWhether this kernel has what spawn needs."},
    {"open_pidfd", open_pidfd_of, METH_O, "open_pidfd(pid, /)\n--\n\nA descriptor that is readable when that child has ended. OSError."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

bool add_spawn_functions(const Gil&, PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace pyw::aio
