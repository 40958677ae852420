#include "python/interpreter.hpp"

#include "python/compat.hpp"

#include <unistd.h>

#include <climits>
#include <cstdio>

#include "python/erlang_module.hpp"
#include "python/gil.hpp"
#include "python/ref.hpp"

namespace pyw {
namespace {

/// PyConfig has to be cleared however we leave.
class Config {
 public:
  Config() { PyConfig_InitPythonConfig(&config_); }
  ~Config() { PyConfig_Clear(&config_); }
  Config(const Config&) = delete;
  PyConfig* operator->() { return &config_; }
  PyConfig* get() { return &config_; }

 private:
  PyConfig config_;
};

Result<void> status_of(const PyStatus& status, const char* doing) {
  if (!PyStatus_Exception(status)) return {};
  std::string why = status.err_msg ? status.err_msg : "it asked to exit";
  return Error{Errc::python, std::string(doing) + ": " + why};
}

/// `argv`: a command line like Python's, of which some options (-X dev, -I, -E) are to be known by now; or null.
Result<void> preinitialize(bool use_environment, int argc, char** argv) {
  PyPreConfig pre;
  PyPreConfig_InitPythonConfig(&pre);
  pre.utf8_mode = 1;
  pre.parse_argv = argv ? 1 : 0;
  pre.use_environment = use_environment ? 1 : 0;
  if (PyImport_AppendInittab("_erlang", &PyInit__erlang) != 0) return Error{Errc::python, "the module _erlang cannot be registered"};
  return status_of(argv ? Py_PreInitializeFromBytesArgs(&pre, argc, argv) : Py_PreInitialize(&pre), "before Python's start");
}

Result<void> put_path(const Gil& gil, const InterpreterOptions& options) {
  PyObject* sys_path = PySys_GetObject("path");  // borrowed
  if (!sys_path || !PyList_Check(sys_path)) return Error{Errc::python, "sys.path is not a list"};
  Py_ssize_t at = 0;
  const auto put = [&](const std::string& folder) {
    const Ref text = Ref::steal(PyUnicode_DecodeFSDefault(folder.c_str()));
    return text.get() && PyList_Insert(sys_path, at++, text.get()) == 0;
  };
  for (const auto& folder : options.path)
    if (!put(folder)) return Error{Errc::python, "cannot put " + folder + " on sys.path"};
  if (!options.package.empty() && !put(options.package)) return Error{Errc::python, "cannot put the package on sys.path"};
  (void)gil;
  return {};
}

Result<void> line_buffer_stdout() {
  // A pipe would make Python buffer whole blocks; a line that was printed should be seen when it was printed.
  PyObject* out = PySys_GetObject("stdout");  // borrowed; None when fd 1 could not be opened
  if (!out || out == Py_None) return {};
  const Ref method = Ref::steal(PyObject_GetAttrString(out, "reconfigure"));
  const Ref no_args = Ref::steal(PyTuple_New(0));
  const Ref kwargs = Ref::steal(Py_BuildValue("{s:O}", "line_buffering", Py_True));
  if (!method.get() || !no_args.get() || !kwargs.get() ||
      !Ref::steal(PyObject_Call(method.get(), no_args.get(), kwargs.get())).get())
    return Error{Errc::python, "sys.stdout.reconfigure failed"};
  return {};
}

Result<void> enable_faulthandler(const InterpreterOptions& options) {
  if (options.crash_fd < 0) return {};
  const Ref module = Ref::steal(PyImport_ImportModule("faulthandler"));
  if (!module.get()) return Error{Errc::python, "faulthandler cannot be imported"};
  const Ref enabled = Ref::steal(PyObject_CallMethod(module.get(), "enable", "iO", options.crash_fd, Py_True));
  if (!enabled.get()) return Error{Errc::python, "faulthandler.enable failed"};
  if (options.dump_signal == 0) return {};
  const Ref registered =
      Ref::steal(PyObject_CallMethod(module.get(), "register", "iiO", options.dump_signal, options.crash_fd, Py_True));
  if (!registered.get()) return Error{Errc::python, "faulthandler.register failed"};
  return {};
}

/// The pending exception as "Type: message", for failures before there is anybody to send a traceback to.
std::string pending_text() {
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  const Ref a = Ref::steal(type), b = Ref::steal(value), c = Ref::steal(trace);
  const Ref text = Ref::steal(value ? PyObject_Repr(value) : nullptr);
  const char* utf8 = text.get() ? PyUnicode_AsUTF8(text.get()) : nullptr;
  std::string out = utf8 ? utf8 : "";
  PyErr_Clear();  // only a failing repr can have left one; the first problem is what counts
  return out;
}

}  // namespace

Result<void> start_interpreter(const InterpreterOptions& options) {
  if (auto ready = preinitialize(options.use_environment, 0, nullptr); !ready) return ready;
  Config config;
  config->use_environment = options.use_environment ? 1 : 0;
  config->parse_argv = 0;
  config->user_site_directory = options.use_environment ? 1 : 0;
  config->install_signal_handlers = 1;
  config->faulthandler = 0;  // enabled below, on the crash file
#if PY_VERSION_HEX >= 0x030b0000
  config->safe_path = 1;  // no '' on sys.path: the working directory is not a place to import from
#endif
  if (auto set = status_of(PyConfig_SetBytesString(config.get(), &config->executable, options.executable.c_str()), "executable"); !set)
    return set;
  if (auto set = status_of(PyConfig_SetBytesString(config.get(), &config->program_name, options.executable.c_str()), "program_name"); !set)
    return set;
  if (auto started = status_of(Py_InitializeFromConfig(config.get()), "Python's start"); !started) return started;

  const GilAcquire gil;
  auto finish = [&]() -> Result<void> {
    if (auto done = put_path(gil, options); !done) return done;
    if (auto done = line_buffer_stdout(); !done) return done;
    return enable_faulthandler(options);
  };
  auto finished = finish();
  if (!finished && PyErr_Occurred()) return Error{Errc::python, finished.error().message + ": " + pending_text()};
  return finished;
}

bool flush_streams(const Gil&) {
  bool done = true;
  for (const char* name : {"stdout", "stderr"}) {
    PyObject* stream = PySys_GetObject(name);  // borrowed
    if (!stream || stream == Py_None || Ref::steal(PyObject_CallMethod(stream, "flush", nullptr))) continue;
    PyErr_Clear();  // what went wrong is the answer
    done = false;
  }
  return done;
}

bool stop_interpreter() { return Py_FinalizeEx() == 0; }

int run_like_python(int argc, char** argv, const std::string& package) {
  if (auto ready = preinitialize(true, argc, argv); !ready) {
    std::fprintf(stderr, "py_worker: %s\n", ready.error().message.c_str());
    return 1;
  }
  PyStatus status;
  {
    Config config;
    status = PyConfig_SetBytesArgv(config.get(), argc, argv);
    if (!PyStatus_Exception(status)) {
      // A venv's interpreter finds its venv by its own path; ours is named by VIRTUAL_ENV, as the activate script leaves it.
      const char* venv = std::getenv("VIRTUAL_ENV");
      const std::string executable = venv && *venv ? std::string(venv) + "/bin/python" : PYW_PYTHON_EXECUTABLE;
      status = PyConfig_SetBytesString(config.get(), &config->executable, executable.c_str());
    }
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(config.get());
  }
  if (PyStatus_IsExit(status)) return status.exitcode;
  if (PyStatus_Exception(status)) Py_ExitStatusException(status);
  {
    PyObject* sys_path = PySys_GetObject("path");  // borrowed
    const Ref folder = Ref::steal(PyUnicode_DecodeFSDefault(package.c_str()));
    if (!folder || !sys_path || PyList_Append(sys_path, folder.get()) != 0) PyErr_Print();
  }  // Py_RunMain ends the interpreter, and no reference may outlive it
  return Py_RunMain();
}

std::string package_beside_program() {
  char path[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0) return "";
  const std::string program(path, static_cast<std::size_t>(n));
  return program.substr(0, program.rfind('/')) + "/python";
}

}  // namespace pyw
