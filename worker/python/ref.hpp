#pragma once

#include <cassert>
#include <utility>

#include "python/gil.hpp"

namespace pyw {

/// Owns exactly one strong reference, or none. There is no constructor from PyObject*: whoever makes one says where the reference
/// came from. GIL: needed to make, to share and to end one that is not empty.
class Ref {
 public:
  Ref() = default;
  /// For what the documentation calls a "new reference".
  static Ref steal(PyObject* p) { return Ref(p); }
  /// For what the documentation calls "borrowed".
  static Ref share(const Gil&, PyObject* p) {
    Py_XINCREF(p);
    return Ref(p);
  }
  Ref(Ref&& other) noexcept : p_(std::exchange(other.p_, nullptr)) {}
  Ref& operator=(Ref&& other) noexcept {
    std::swap(p_, other.p_);
    return *this;
  }
  ~Ref() {
    if (p_) {
      assert(PyGILState_Check());
      Py_DECREF(p_);
    }
  }
  PyObject* get() const { return p_; }                                      ///< lends
  [[nodiscard]] PyObject* release() { return std::exchange(p_, nullptr); }  ///< gives away
  explicit operator bool() const { return p_ != nullptr; }
  /// Drops the reference now.
  void reset() { Ref(std::move(*this)); }
  /// For tp_traverse.
  int traverse(visitproc visit, void* arg) const { return p_ ? visit(p_, arg) : 0; }

 private:
  explicit Ref(PyObject* p) : p_(p) {}
  PyObject* p_ = nullptr;
};

}  // namespace pyw
