#include "python/code_runner.hpp"

#include "python/memory.hpp"

namespace pyw {
namespace {
constexpr std::size_t kCachedCodes = 256;
constexpr std::size_t kCachedSize = 16u << 10;
}  // namespace

CodeRunner::CodeRunner(const Gil& gil) {
  main_ = Ref::steal(PyImport_ImportModule("__main__"));
  if (main_) namespace_ = Ref::share(gil, PyModule_GetDict(main_.get()));
}

Ref CodeRunner::run(const Gil& gil, Bytes source, Mode mode, PyObject* locals, PyObject* space) {
  const Ref code = compiled(gil, source, mode);
  if (!code) return {};
  if (!space) space = namespace_.get();
  if (locals && PyDict_GET_SIZE(locals) > 0) return run_with_locals(gil, code.get(), mode, locals, space);
  return Ref::steal(PyEval_EvalCode(code.get(), space, space));
}

Ref CodeRunner::compiled(const Gil& gil, Bytes source, Mode mode) {
  std::string key(1, mode == Mode::eval ? 'e' : 'x');
  if (!within_memory(gil, [&] { key.append(text_of(source)); })) return {};
  if (const auto known = cache_.find(key); known != cache_.end()) return Ref::share(gil, known->second.get());
  if (key.find('\0') != std::string::npos) {
    PyErr_SetString(PyExc_ValueError, "source code cannot contain null bytes");
    return {};
  }
  const char* text = key.c_str() + 1;
  // Blanks before an expression are no indentation; eval() of Python strips them, too.
  if (mode == Mode::eval)
    while (*text == ' ' || *text == '\t') ++text;
  const Ref name = Ref::steal(PyUnicode_FromString(mode == Mode::eval ? "<eval>" : "<exec>"));
  PyCompilerFlags flags{PyCF_SOURCE_IS_UTF8 | PyCF_IGNORE_COOKIE, PY_MINOR_VERSION};
  Ref code = Ref::steal(name ? Py_CompileStringObject(text, name.get(), mode == Mode::eval ? Py_eval_input : Py_file_input, &flags, -1)
                             : nullptr);
  if (!code || key.size() > kCachedSize) return code;
  if (cache_.size() >= kCachedCodes) cache_.clear();
  cache_.emplace(std::move(key), Ref::share(gil, code.get()));
  return code;
}

Ref CodeRunner::run_with_locals(const Gil&, PyObject* code, Mode mode, PyObject* locals, PyObject* space) {
  if (!scope_module_) scope_module_ = Ref::steal(PyImport_ImportModule("erlang._scope"));
  if (!scope_module_) return {};
  return Ref::steal(PyObject_CallMethod(scope_module_.get(), mode == Mode::eval ? "evaluate" : "execute", "OOO", code, locals,
                                        space));
}

}  // namespace pyw
