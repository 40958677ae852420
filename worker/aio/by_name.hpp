#pragma once

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "aio/slots.hpp"

namespace pyw::aio {

/// The arguments of a METH_FASTCALL | METH_KEYWORDS function, of which the first may be given by name as well, as those of asyncio's methods may.
/// Nearly nobody does: then this costs a look at `kwnames`, which tasks' calls have. GIL: held.
class ByName {
 public:
  /// Puts what is given by one of these names in its place; of kwnames the others are left. False: TypeError is pending.
  bool take(PyObject* const*& args, Py_ssize_t& nargs, PyObject*& kwnames, std::initializer_list<const char*> names) {
    return !kwnames || !has_any(kwnames, names) || rearrange(args, nargs, kwnames, names);
  }

  /// The one argument of a method; null: TypeError is pending.
  static PyObject* only(const char* name, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
    if (nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0) == 1 && (nargs == 1 || is(PyTuple_GET_ITEM(kwnames, 0), name))) [[likely]] return args[0];
    PyErr_Format(PyExc_TypeError, "expected one argument, '%s'", name);
    return nullptr;
  }

 private:
  static bool has_any(PyObject* kwnames, std::initializer_list<const char*> names) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); ++i)
      for (const char* name : names)
        if (is(PyTuple_GET_ITEM(kwnames, i), name)) return true;
    return false;
  }
  static bool is(PyObject* given, const char* name) { return PyUnicode_CompareWithASCIIString(given, name) == 0; }

  bool rearrange(PyObject* const*& args, Py_ssize_t& nargs, PyObject*& kwnames, std::initializer_list<const char*> names) {
    std::vector<PyObject*> placed(args, args + nargs), others;
    std::vector<PyObject*> left;
    std::vector<std::pair<std::size_t, PyObject*>> found;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); ++i) {
      PyObject* given = PyTuple_GET_ITEM(kwnames, i);
      const auto name = std::find_if(names.begin(), names.end(), [&](const char* each) { return is(given, each); });
      if (name == names.end()) {
        left.push_back(given);
        others.push_back(args[nargs + i]);
        continue;
      }
      found.emplace_back(static_cast<std::size_t>(name - names.begin()), args[nargs + i]);
    }
    std::sort(found.begin(), found.end());
    for (const auto& [place, argument] : found) {
      if (place != placed.size()) {
        PyErr_Format(PyExc_TypeError, place < placed.size() ? "argument '%s' is given twice" : "an argument before '%s' is missing", names.begin()[place]);
        return false;
      }
      placed.push_back(argument);
    }
    left_ = Ref::steal(left.empty() ? nullptr : PyTuple_New(static_cast<Py_ssize_t>(left.size())));
    if (!left.empty() && !left_) return false;
    for (std::size_t i = 0; i < left.size(); ++i) {
      Py_INCREF(left[i]);
      PyTuple_SET_ITEM(left_.get(), static_cast<Py_ssize_t>(i), left[i]);
    }
    nargs = static_cast<Py_ssize_t>(placed.size());
    kwnames = left_.get();
    all_ = std::move(placed);
    all_.insert(all_.end(), others.begin(), others.end());
    args = all_.data();
    return true;
  }

  std::vector<PyObject*> all_;  ///< borrowed
  Ref left_;
};

/// A name as an argument of a template.
template <std::size_t N>
struct Name {
  char text[N];
  consteval Name(const char (&of)[N]) { std::copy_n(of, N, text); }
};

}  // namespace pyw::aio
