#pragma once

#include <cstdint>

#include "base/bytes.hpp"
#include "python/ref.hpp"

namespace pyw {

/// The Python types of what Erlang has and Python has not: erlang.Atom, Pid, Port, Ref, Fun, Export, BitString, ImproperList.
/// All are immutable, hashable, and can be pickled. The opaque ones (Pid to Export) hold their encoded bytes and go back byte
/// for byte; Python code cannot make them. Equality is by type and content: Atom('a') != 'a'.
/// GIL: needed by everything here.
struct Terms {
  Ref atom, pid, port, reference, fun, export_, bitstring, improper;
  Ref encoded;       ///< opaque too, and for this package alone: what has been encoded already
  Ref erlang_error;  ///< erlang.ErlangError(Exception)
  Ref term_error;    ///< erlang.TermError(ErlangError, ValueError), with .path

  /// Makes the types and adds them to the module. False: an exception is pending.
  [[nodiscard]] bool make(const Gil&, PyObject* module);
  int traverse(visitproc visit, void* arg) const;
  void clear();
};

/// Makers: an empty Ref means that an exception is pending. `type` is one of Terms.
Ref make_opaque(const Gil&, const Ref& type, Bytes encoded);
Ref make_atom(const Gil&, const Terms&, PyObject* text);
Ref make_bitstring(const Gil&, const Terms&, Bytes bytes, std::uint8_t last_bits);
/// Steals nothing: shares both. `items` is a tuple that is not empty.
Ref make_improper(const Gil&, const Terms&, PyObject* items, PyObject* tail);

/// Looking inside. The caller has checked the type; what is lent lives as long as the object.
Bytes opaque_bytes(PyObject* object);
PyObject* atom_text(PyObject* object);
Bytes bitstring_bytes(PyObject* object);
std::uint8_t bitstring_last_bits(PyObject* object);
PyObject* improper_items(PyObject* object);
PyObject* improper_tail(PyObject* object);

}  // namespace pyw
