#include "python/terms.hpp"

#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

#include "etf/reader.hpp"

namespace pyw {
namespace {

/// Pid, Port, Ref, Fun, Export and BitString: a run of bytes behind the head. `last_bits` means something for BitString only.
struct BytesObject {
  PyObject_VAR_HEAD
  std::uint8_t last_bits;
  char data[1];
};
struct AtomObject {
  PyObject_HEAD
  PyObject* text;
};
struct ImproperObject {
  PyObject_HEAD
  PyObject* items;
  PyObject* tail;
};

template <class T>
T* as(PyObject* object) {
  return reinterpret_cast<T*>(object);
}

std::string_view content(PyObject* self) {
  return {as<BytesObject>(self)->data, static_cast<std::size_t>(Py_SIZE(self))};
}

/// Heap types own a share of their type in every instance.
template <class Drop>
void free_with_type(PyObject* self, Drop drop) {
  PyTypeObject* type = Py_TYPE(self);
  drop();
  type->tp_free(self);
  Py_DECREF(type);
}

Py_hash_t hash_of(std::string_view bytes) {
  const auto hash = static_cast<Py_hash_t>(std::hash<std::string_view>{}(bytes));
  return hash == -1 ? -2 : hash;
}

PyObject* boolean(bool value) { return PyBool_FromLong(value); }

/// The shared shape of rich comparison where only == and != have a meaning.
template <class Equal>
PyObject* compare_equality(PyObject* left, PyObject* right, int op, Equal equal) {
  if ((op != Py_EQ && op != Py_NE) || Py_TYPE(left) != Py_TYPE(right)) Py_RETURN_NOTIMPLEMENTED;
  return boolean(equal() == (op == Py_EQ));
}

// --- opaque terms ---------------------------------------------------------------------------------------------------------------

void bytes_dealloc(PyObject* self) {
  free_with_type(self, [] {});
}

Py_hash_t bytes_hash(PyObject* self) { return hash_of(content(self)); }

PyObject* bytes_compare(PyObject* left, PyObject* right, int op) {
  return compare_equality(left, right, op, [&] {
    return content(left) == content(right) && as<BytesObject>(left)->last_bits == as<BytesObject>(right)->last_bits;
  });
}

PyObject* opaque_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyErr_Format(PyExc_TypeError, "%s cannot be made in Python: it comes from Erlang", type->tp_name);
  return nullptr;
}

/// (binary_to_term, (encoded,)): so pickle needs no second format.
PyObject* opaque_reduce(PyObject* self, PyObject*) {
  PyObject* module = PyType_GetModule(Py_TYPE(self));  // borrowed
  if (!module) return nullptr;
  const Ref decode = Ref::steal(PyObject_GetAttrString(module, "binary_to_term"));
  if (!decode) return nullptr;
  const std::string encoded = '\x83' + std::string(content(self));
  return Py_BuildValue("O(y#)", decode.get(), encoded.data(), static_cast<Py_ssize_t>(encoded.size()));
}

/// Reads the parts of an opaque term for repr(); what it does not know it leaves out.
class Parts {
 public:
  explicit Parts(PyObject* self) : bytes_(as_bytes(content(self))) {}

  std::uint8_t tag() const { return bytes_.empty() ? std::uint8_t{0} : std::to_integer<std::uint8_t>(bytes_[0]); }
  void skip(std::size_t n) { at_ += n; }
  std::string atom() {
    etf::Token token;
    if (at_ >= bytes_.size()) return {};
    etf::Reader reader(bytes_.subspan(at_));
    if (!reader.next(token) || token.kind != etf::Kind::atom) return {};
    at_ += reader.offset();
    return std::string(text_of(token.bytes));
  }
  std::uint64_t number(std::size_t size) {
    std::uint64_t value = 0;
    for (; size > 0 && at_ < bytes_.size(); --size) value = value << 8 | std::to_integer<std::uint64_t>(bytes_[at_++]);
    return value;
  }

 private:
  static Bytes as_bytes(std::string_view text) { return bytes_of(text); }
  Bytes bytes_;
  std::size_t at_ = 1;
};

namespace tag {
constexpr std::uint8_t kNewPort = 89, kNewPid = 88, kNewerReference = 90, kPort = 102, kPid = 103, kNewReference = 114, kV4Port = 120;
}

/// The node, where it says something: a node that is not distributed has no name worth showing.
std::string node_suffix(const std::string& node) { return node.empty() || node == "nonode@nohost" ? "" : " " + node; }

std::string number_and_node(PyObject* self, std::string& node) {
  Parts parts(self);
  const std::uint8_t tag = parts.tag();
  if (tag == tag::kNewerReference || tag == tag::kNewReference) {
    const std::uint64_t words = parts.number(2);
    node = parts.atom();
    parts.skip(tag == tag::kNewerReference ? 4 : 1);
    std::string text;
    for (std::uint64_t i = 0; i < words; ++i) text = "." + std::to_string(parts.number(4)) + text;  // Erlang prints the last word first
    return "0" + text;
  }
  node = parts.atom();
  if (tag == tag::kNewPid || tag == tag::kPid) {
    const std::uint64_t id = parts.number(4);
    return "0." + std::to_string(id) + "." + std::to_string(parts.number(4));
  }
  if (tag == tag::kV4Port) return "0." + std::to_string(parts.number(8));
  if (tag == tag::kNewPort || tag == tag::kPort) return "0." + std::to_string(parts.number(4));
  return "?";
}

PyObject* text_object(const std::string& text) {
  return PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
}

PyObject* identifier_repr(PyObject* self) {
  std::string node;
  const std::string number = number_and_node(self, node);
  return text_object("<" + std::string(Py_TYPE(self)->tp_name) + " " + number + node_suffix(node) + ">");
}

PyObject* identifier_node(PyObject* self, void*) {
  std::string node;
  (void)number_and_node(self, node);
  return text_object(node);
}

PyObject* encoded_repr(PyObject* self) { return text_object("<" + std::to_string(content(self).size()) + " bytes of an encoded term>"); }

PyObject* fun_repr(PyObject* self) {
  constexpr std::uint8_t kNewFun = 112;
  Parts parts(self);
  if (parts.tag() != kNewFun) return text_object("<erlang.Fun>");
  parts.skip(4);  // size
  const std::uint64_t arity = parts.number(1);
  parts.skip(16 + 4 + 4);  // uniq, index, number of free variables
  return text_object("<erlang.Fun " + parts.atom() + "/" + std::to_string(arity) + ">");
}

PyObject* export_repr(PyObject* self) {
  Parts parts(self);
  const std::string module = parts.atom();
  const std::string function = parts.atom();
  parts.skip(1);  // SMALL_INTEGER_EXT
  return text_object("<erlang.Export " + module + ":" + function + "/" + std::to_string(parts.number(1)) + ">");
}

// --- BitString ------------------------------------------------------------------------------------------------------------------

Ref new_bytes(PyTypeObject* type, Bytes bytes, std::uint8_t last_bits) {
  Ref made = Ref::steal(type->tp_alloc(type, static_cast<Py_ssize_t>(bytes.size())));
  if (!made) return made;
  auto* object = as<BytesObject>(made.get());
  object->last_bits = last_bits;
  if (!bytes.empty()) std::memcpy(object->data, bytes.data(), bytes.size());
  return made;
}

PyObject* bitstring_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* const names[] = {"data", "last_bits", nullptr};
  const char* data = nullptr;
  Py_ssize_t size = 0;
  int last_bits = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y#i:BitString", const_cast<char**>(names), &data, &size, &last_bits)) return nullptr;
  if (size < 1 || last_bits < 1 || last_bits > 7) {
    PyErr_SetString(PyExc_ValueError, "a BitString has at least one byte, and 1 to 7 bits of the last one; whole bytes are bytes");
    return nullptr;
  }
  Ref made = new_bytes(type, bytes_of({data, static_cast<std::size_t>(size)}), static_cast<std::uint8_t>(last_bits));
  if (!made) return nullptr;
  // Bits that do not count are zero, so that equal bit strings are equal bytes.
  char& last = as<BytesObject>(made.get())->data[size - 1];
  last = static_cast<char>(static_cast<unsigned char>(last) & (0xFF00 >> last_bits));
  return made.release();
}

PyObject* bitstring_data(PyObject* self, void*) { return PyBytes_FromStringAndSize(as<BytesObject>(self)->data, Py_SIZE(self)); }
PyObject* bitstring_bits(PyObject* self, void*) { return PyLong_FromLong(as<BytesObject>(self)->last_bits); }
PyObject* bitstring_bit_length(PyObject* self, void*) {
  return PyLong_FromSsize_t((Py_SIZE(self) - 1) * 8 + as<BytesObject>(self)->last_bits);
}

PyObject* bitstring_repr(PyObject* self) {
  const Ref data = Ref::steal(bitstring_data(self, nullptr));
  return data ? PyUnicode_FromFormat("erlang.BitString(%R, %d)", data.get(), static_cast<int>(as<BytesObject>(self)->last_bits)) : nullptr;
}

PyObject* bitstring_reduce(PyObject* self, PyObject*) {
  return Py_BuildValue("O(y#i)", Py_TYPE(self), as<BytesObject>(self)->data, Py_SIZE(self), static_cast<int>(as<BytesObject>(self)->last_bits));
}

// --- Atom -----------------------------------------------------------------------------------------------------------------------

Ref new_atom(PyTypeObject* type, PyObject* text) {
  if (PyUnicode_GetLength(text) > 255) {
    PyErr_SetString(PyExc_ValueError, "an atom has at most 255 characters");
    return {};
  }
  if (!PyUnicode_AsUTF8(text)) return {};  // lone surrogates; also keeps the UTF-8 form for later
  Ref made = Ref::steal(type->tp_alloc(type, 0));
  if (!made) return made;
  Py_INCREF(text);
  as<AtomObject>(made.get())->text = text;
  return made;
}

PyObject* atom_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* const names[] = {"name", nullptr};
  PyObject* given = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "U:Atom", const_cast<char**>(names), &given)) return nullptr;
  const Ref text = Ref::steal(PyUnicode_FromObject(given));  // an exact str, whatever subclass came
  return text ? new_atom(type, text.get()).release() : nullptr;
}

void atom_dealloc(PyObject* self) {
  free_with_type(self, [&] { Py_XDECREF(as<AtomObject>(self)->text); });
}

PyObject* atom_str(PyObject* self) {
  Py_INCREF(as<AtomObject>(self)->text);
  return as<AtomObject>(self)->text;
}

PyObject* atom_repr(PyObject* self) { return PyUnicode_FromFormat("erlang.Atom(%R)", as<AtomObject>(self)->text); }
Py_hash_t atom_hash(PyObject* self) { return PyObject_Hash(as<AtomObject>(self)->text); }

PyObject* atom_compare(PyObject* left, PyObject* right, int op) {
  if (Py_TYPE(left) != Py_TYPE(right)) Py_RETURN_NOTIMPLEMENTED;
  return PyUnicode_RichCompare(as<AtomObject>(left)->text, as<AtomObject>(right)->text, op);
}

PyObject* atom_reduce(PyObject* self, PyObject*) { return Py_BuildValue("O(O)", Py_TYPE(self), as<AtomObject>(self)->text); }

// --- ImproperList ---------------------------------------------------------------------------------------------------------------

Ref new_improper(PyTypeObject* type, PyObject* items, PyObject* tail) {
  Ref made = Ref::steal(type->tp_alloc(type, 0));
  if (!made) return made;
  Py_INCREF(items);
  Py_INCREF(tail);
  as<ImproperObject>(made.get())->items = items;
  as<ImproperObject>(made.get())->tail = tail;
  return made;
}

PyObject* improper_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* const names[] = {"items", "tail", nullptr};
  PyObject *given = nullptr, *tail = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:ImproperList", const_cast<char**>(names), &given, &tail)) return nullptr;
  const Ref items = Ref::steal(PySequence_Tuple(given));
  if (!items) return nullptr;
  if (PyTuple_GET_SIZE(items.get()) == 0) {
    PyErr_SetString(PyExc_ValueError, "an improper list has at least one item before its tail");
    return nullptr;
  }
  return new_improper(type, items.get(), tail).release();
}

int improper_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as<ImproperObject>(self)->items);
  Py_VISIT(as<ImproperObject>(self)->tail);
  return 0;
}

int improper_clear(PyObject* self) {
  Py_CLEAR(as<ImproperObject>(self)->items);
  Py_CLEAR(as<ImproperObject>(self)->tail);
  return 0;
}

void improper_dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  free_with_type(self, [&] { improper_clear(self); });
}

PyObject* improper_repr(PyObject* self) {
  const Ref items = Ref::steal(PySequence_List(as<ImproperObject>(self)->items));
  return items ? PyUnicode_FromFormat("erlang.ImproperList(%R, %R)", items.get(), as<ImproperObject>(self)->tail) : nullptr;
}

Py_hash_t improper_hash(PyObject* self) {
  const Ref both = Ref::steal(PyTuple_Pack(2, as<ImproperObject>(self)->items, as<ImproperObject>(self)->tail));
  return both ? PyObject_Hash(both.get()) : -1;
}

PyObject* improper_compare(PyObject* left, PyObject* right, int op) {
  if ((op != Py_EQ && op != Py_NE) || Py_TYPE(left) != Py_TYPE(right)) Py_RETURN_NOTIMPLEMENTED;
  int equal = PyObject_RichCompareBool(as<ImproperObject>(left)->items, as<ImproperObject>(right)->items, Py_EQ);
  if (equal == 1) equal = PyObject_RichCompareBool(as<ImproperObject>(left)->tail, as<ImproperObject>(right)->tail, Py_EQ);
  return equal < 0 ? nullptr : boolean((equal == 1) == (op == Py_EQ));
}

PyObject* shared(PyObject* object) {
  Py_INCREF(object);
  return object;
}
PyObject* improper_get_items(PyObject* self, void*) { return shared(as<ImproperObject>(self)->items); }
PyObject* improper_get_tail(PyObject* self, void*) { return shared(as<ImproperObject>(self)->tail); }
PyObject* improper_reduce(PyObject* self, PyObject*) {
  return Py_BuildValue("O(OO)", Py_TYPE(self), as<ImproperObject>(self)->items, as<ImproperObject>(self)->tail);
}

// --- the types ------------------------------------------------------------------------------------------------------------------

template <class F>
void* slot(F* function) {
  return reinterpret_cast<void*>(function);
}

PyMethodDef opaque_methods[] = {{"__reduce__", opaque_reduce, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
PyMethodDef bitstring_methods[] = {{"__reduce__", bitstring_reduce, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
PyMethodDef atom_methods[] = {{"__reduce__", atom_reduce, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
PyMethodDef improper_methods[] = {{"__reduce__", improper_reduce, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
PyGetSetDef identifier_getset[] = {{"node", identifier_node, nullptr, "name of the node it belongs to", nullptr}, {}};
PyGetSetDef no_getset[] = {{}};
PyGetSetDef bitstring_getset[] = {{"data", bitstring_data, nullptr, "the bytes; of the last one the first last_bits bits count", nullptr},
                                  {"last_bits", bitstring_bits, nullptr, "1 to 7", nullptr},
                                  {"bit_length", bitstring_bit_length, nullptr, "number of bits", nullptr},
                                  {}};
PyGetSetDef improper_getset[] = {{"items", improper_get_items, nullptr, "what stands before the tail, a tuple", nullptr},
                                 {"tail", improper_get_tail, nullptr, "what stands behind the bar", nullptr},
                                 {}};

Ref add_type(PyObject* module, PyType_Spec spec) {
  spec.flags |= static_cast<unsigned>(Py_TPFLAGS_DEFAULT | compat::kImmutableType);
  Ref type = Ref::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  if (!type || PyModule_AddType(module, as<PyTypeObject>(type.get())) < 0) return {};
  return type;
}

constexpr int kBytesHead = static_cast<int>(offsetof(BytesObject, data));

Ref add_opaque(PyObject* module, const char* name, const char* doc, reprfunc repr, PyGetSetDef* getset) {
  PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>(doc)},
                         {Py_tp_new, slot(opaque_new)},
                         {Py_tp_dealloc, slot(bytes_dealloc)},
                         {Py_tp_repr, slot(repr)},
                         {Py_tp_hash, slot(bytes_hash)},
                         {Py_tp_richcompare, slot(bytes_compare)},
                         {Py_tp_methods, opaque_methods},
                         {Py_tp_getset, getset},
                         {0, nullptr}};
  return add_type(module, {name, kBytesHead, 1, 0, slots});
}

Ref add_bitstring(PyObject* module) {
  PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>("BitString(data, last_bits)\n--\n\nAn Erlang bit string that does not end with a whole byte.")},
                         {Py_tp_new, slot(bitstring_new)},
                         {Py_tp_dealloc, slot(bytes_dealloc)},
                         {Py_tp_repr, slot(bitstring_repr)},
                         {Py_tp_hash, slot(bytes_hash)},
                         {Py_tp_richcompare, slot(bytes_compare)},
                         {Py_tp_methods, bitstring_methods},
                         {Py_tp_getset, bitstring_getset},
                         {0, nullptr}};
  return add_type(module, {"erlang.BitString", kBytesHead, 1, 0, slots});
}

Ref add_atom(PyObject* module) {
  PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>("Atom(name)\n--\n\nAn Erlang atom. Equal only to an Atom of the same name; str(atom) is the name.")},
                         {Py_tp_new, slot(atom_new)},
                         {Py_tp_dealloc, slot(atom_dealloc)},
                         {Py_tp_repr, slot(atom_repr)},
                         {Py_tp_str, slot(atom_str)},
                         {Py_tp_hash, slot(atom_hash)},
                         {Py_tp_richcompare, slot(atom_compare)},
                         {Py_tp_methods, atom_methods},
                         {0, nullptr}};
  return add_type(module, {"erlang.Atom", static_cast<int>(sizeof(AtomObject)), 0, 0, slots});
}

Ref add_improper(PyObject* module) {
  PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>("ImproperList(items, tail)\n--\n\nAn Erlang list [A, B | Tail] whose tail is not a list.")},
                         {Py_tp_new, slot(improper_new)},
                         {Py_tp_dealloc, slot(improper_dealloc)},
                         {Py_tp_traverse, slot(improper_traverse)},
                         {Py_tp_clear, slot(improper_clear)},
                         {Py_tp_repr, slot(improper_repr)},
                         {Py_tp_hash, slot(improper_hash)},
                         {Py_tp_richcompare, slot(improper_compare)},
                         {Py_tp_methods, improper_methods},
                         {Py_tp_getset, improper_getset},
                         {0, nullptr}};
  return add_type(module, {"erlang.ImproperList", static_cast<int>(sizeof(ImproperObject)), 0, static_cast<unsigned>(Py_TPFLAGS_HAVE_GC), slots});
}

Ref add_exception(PyObject* module, const char* name, const char* attribute, const char* doc, PyObject* bases) {
  Ref type = Ref::steal(PyErr_NewExceptionWithDoc(name, doc, bases, nullptr));
  if (!type) return {};
  if (PyModule_AddObject(module, attribute, shared(type.get())) < 0) {
    Py_DECREF(type.get());
    return {};
  }
  return type;
}

}  // namespace

bool Terms::make(const Gil&, PyObject* module) {
  if (!(atom = add_atom(module))) return false;
  if (!(pid = add_opaque(module, "erlang.Pid", "An Erlang process identifier.", identifier_repr, identifier_getset))) return false;
  if (!(port = add_opaque(module, "erlang.Port", "An Erlang port identifier.", identifier_repr, identifier_getset))) return false;
  if (!(reference = add_opaque(module, "erlang.Ref", "An Erlang reference.", identifier_repr, identifier_getset))) return false;
  if (!(fun = add_opaque(module, "erlang.Fun", "An Erlang fun with its environment.", fun_repr, no_getset))) return false;
  if (!(export_ = add_opaque(module, "erlang.Export", "An Erlang external fun: fun Module:Function/Arity.", export_repr, no_getset))) return false;
  if (!(encoded = add_opaque(module, "erlang._Encoded", "A term that is encoded already.", encoded_repr, no_getset))) return false;
  if (!(bitstring = add_bitstring(module))) return false;
  if (!(improper = add_improper(module))) return false;
  erlang_error = add_exception(module, "erlang.ErlangError", "ErlangError", "Base of the exceptions that the erlang package raises.", nullptr);
  if (!erlang_error) return false;
  const Ref bases = Ref::steal(PyTuple_Pack(2, erlang_error.get(), PyExc_ValueError));
  if (!bases) return false;
  term_error = add_exception(module, "erlang.TermError", "TermError",
                             "A value has no counterpart in the other language; path says which one, as in 'result[2].key'.", bases.get());
  return static_cast<bool>(term_error);
}

int Terms::traverse(visitproc visit, void* arg) const {
  for (const Ref* one : {&atom, &pid, &port, &reference, &fun, &export_, &encoded, &bitstring, &improper, &erlang_error, &term_error})
    if (const int stop = one->traverse(visit, arg)) return stop;
  return 0;
}

void Terms::clear() {
  for (Ref* one : {&atom, &pid, &port, &reference, &fun, &export_, &encoded, &bitstring, &improper, &erlang_error, &term_error}) one->reset();
}

Ref make_opaque(const Gil&, const Ref& type, Bytes encoded) { return new_bytes(as<PyTypeObject>(type.get()), encoded, 8); }
Ref make_atom(const Gil&, const Terms& terms, PyObject* text) { return new_atom(as<PyTypeObject>(terms.atom.get()), text); }
Ref make_bitstring(const Gil&, const Terms& terms, Bytes bytes, std::uint8_t last_bits) {
  return new_bytes(as<PyTypeObject>(terms.bitstring.get()), bytes, last_bits);
}
Ref make_improper(const Gil&, const Terms& terms, PyObject* items, PyObject* tail) {
  return new_improper(as<PyTypeObject>(terms.improper.get()), items, tail);
}

Bytes opaque_bytes(PyObject* object) { return bytes_of(content(object)); }
PyObject* atom_text(PyObject* object) { return as<AtomObject>(object)->text; }
Bytes bitstring_bytes(PyObject* object) { return bytes_of(content(object)); }
std::uint8_t bitstring_last_bits(PyObject* object) { return as<BytesObject>(object)->last_bits; }
PyObject* improper_items(PyObject* object) { return as<ImproperObject>(object)->items; }
PyObject* improper_tail(PyObject* object) { return as<ImproperObject>(object)->tail; }

}  // namespace pyw
