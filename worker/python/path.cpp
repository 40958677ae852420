#include "python/path.hpp"

#include <vector>

namespace pyw {
namespace {

constexpr Py_ssize_t kMaxKey = 60;         ///< characters of a key's repr
constexpr std::size_t kMaxSteps = 24;      ///< more are cut in the middle
constexpr std::size_t kFirstSteps = 12;

/// The text of a str in UTF-8, whatever is in it. Takes no exception along.
std::string plain(PyObject* text) {
  const Ref encoded = Ref::steal(PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace"));
  if (!encoded) {
    PyErr_Clear();
    return "?";
  }
  return {PyBytes_AS_STRING(encoded.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(encoded.get()))};
}

bool has_plain_repr(PyObject* key) {
  return PyUnicode_CheckExact(key) || PyBytes_CheckExact(key) || PyLong_CheckExact(key) || PyFloat_CheckExact(key) || PyBool_Check(key) ||
         key == Py_None;
}

std::string key_text(const Gil& gil, PyObject* key) {
  if (PyUnicode_CheckExact(key) && PyUnicode_GetLength(key) <= kMaxKey && PyUnicode_IsIdentifier(key) == 1) return "." + plain(key);
  std::string shown = "<" + type_name(gil, Py_TYPE(key)) + ">";
  if (has_plain_repr(key)) {
    const Ref repr = Ref::steal(PyObject_Repr(key));  // fails for an integer of very many digits
    const Ref cut = Ref::steal(repr ? PyUnicode_Substring(repr.get(), 0, kMaxKey) : nullptr);
    if (cut) shown = plain(cut.get()) + (PyUnicode_GetLength(repr.get()) > kMaxKey ? "..." : "");
    else PyErr_Clear();
  }
  return "[" + shown + "]";
}

std::string step_text(const Gil& gil, const Step& step) {
  switch (step.kind) {
    case Step::Kind::index: return "[" + std::to_string(step.index) + "]";
    case Step::Kind::key: return ".keys()[" + std::to_string(step.index) + "]";
    case Step::Kind::tail: return ".tail";
    case Step::Kind::value:
    case Step::Kind::field: break;
  }
  return key_text(gil, step.key);
}

}  // namespace

std::string path_text(const Gil& gil, std::string_view root, const Step* last) {
  std::vector<const Step*> steps;
  for (const Step* step = last; step; step = step->up) steps.push_back(step);
  std::string text(root);
  const std::size_t count = steps.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (count > kMaxSteps && i == kFirstSteps) {
      const std::size_t skipped = count - kMaxSteps;
      text += " ... " + std::to_string(skipped) + " more ... ";
      i += skipped;
    }
    text += step_text(gil, *steps[count - 1 - i]);
  }
  return text;
}

std::string type_name(const Gil&, PyTypeObject* type) {
  auto* object = reinterpret_cast<PyObject*>(type);
  const Ref module = Ref::steal(PyObject_GetAttrString(object, "__module__"));
  const Ref name = Ref::steal(PyObject_GetAttrString(object, "__qualname__"));
  PyErr_Clear();
  std::string text = name && PyUnicode_Check(name.get()) ? plain(name.get()) : std::string(type->tp_name);
  if (!module || !PyUnicode_Check(module.get()) || PyUnicode_CompareWithASCIIString(module.get(), "builtins") == 0) return text;
  return plain(module.get()) + "." + text;
}

}  // namespace pyw
