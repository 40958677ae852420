#include "python/encoders.hpp"

#include "python/terms.hpp"

namespace pyw {
namespace {

using Choice = Encoders::Choice;

/// Classes are made at run time too: past this many the cache starts again, so that it does not keep them all alive.
constexpr std::size_t kMaxChosen = 1024;

bool is_kind_of(PyTypeObject* type, PyTypeObject* base) { return PyType_IsSubtype(type, base) != 0; }

/// The attribute of a module that is imported already; empty if it is not, or cannot give it (it may be half imported, or not what
/// its name says): then no value can be of that class. Leaves no exception behind.
Ref loaded(const char* module, const char* attribute) {
  const Ref name = Ref::steal(PyUnicode_FromString(module));
  const Ref found = Ref::steal(name ? PyImport_GetModule(name.get()) : nullptr);
  Ref value = Ref::steal(found ? PyObject_GetAttrString(found.get(), attribute) : nullptr);
  if (!value) PyErr_Clear();
  return value;
}

bool is_loaded_kind(PyTypeObject* type, const char* module, const char* name) {
  const Ref base = loaded(module, name);
  return base && PyType_Check(base.get()) && is_kind_of(type, reinterpret_cast<PyTypeObject*>(base.get()));
}

Choice with_name(Form form, const char* name) { return {form, Ref::steal(PyUnicode_InternFromString(name))}; }

bool has(PyTypeObject* type, const char* attribute) {
  const Ref value = Ref::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), attribute));
  if (!value) PyErr_Clear();  // a metaclass may raise what it likes: then it has none
  return static_cast<bool>(value);
}

Form builtin_form(PyTypeObject* type) {
  if (is_kind_of(type, &PyLong_Type)) return Form::integer;
  if (is_kind_of(type, &PyFloat_Type)) return Form::real;
  if (is_kind_of(type, &PyUnicode_Type)) return Form::text;
  if (is_kind_of(type, &PyBytes_Type)) return Form::bytes;
  if (is_kind_of(type, &PyList_Type)) return Form::list;
  if (is_kind_of(type, &PyTuple_Type)) return Form::tuple;
  if (is_kind_of(type, &PyDict_Type)) return Form::dict;
  if (is_kind_of(type, &PyByteArray_Type) || type == &PyMemoryView_Type) return Form::buffer;
  for (PyTypeObject* iterable : {&PySet_Type, &PyFrozenSet_Type, &PyRange_Type, &PyDictKeys_Type, &PyDictValues_Type, &PyDictItems_Type})
    if (is_kind_of(type, iterable)) return Form::items;
  return Form::unknown;
}

Form term_form(const Terms& terms, PyTypeObject* type) {
  const auto* object = reinterpret_cast<PyObject*>(type);
  if (object == terms.atom.get()) return Form::atom;
  if (object == terms.bitstring.get()) return Form::bitstring;
  if (object == terms.improper.get()) return Form::improper;
  for (const Ref* opaque : {&terms.pid, &terms.port, &terms.reference, &terms.fun, &terms.export_, &terms.encoded})
    if (object == opaque->get()) return Form::opaque;
  return Form::unknown;
}

/// The names of the fields, in order, without ClassVar and InitVar: dataclasses.fields() knows which.
Choice dataclass_choice(PyTypeObject* type) {
  const Ref fields_of = loaded("dataclasses", "fields");
  if (!fields_of) return {};
  const Ref fields = Ref::steal(PyObject_CallFunctionObjArgs(fields_of.get(), reinterpret_cast<PyObject*>(type), nullptr));
  if (!fields || !PyTuple_Check(fields.get())) return {};
  Ref names = Ref::steal(PyTuple_New(PyTuple_GET_SIZE(fields.get())));
  for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(fields.get()); ++i) {
    PyObject* name = PyObject_GetAttrString(PyTuple_GET_ITEM(fields.get(), i), "name");
    if (!name) return {};
    PyTuple_SET_ITEM(names.get(), i, name);
  }
  return names ? Choice{Form::dataclass, std::move(names)} : Choice{};
}

Choice library_choice(PyTypeObject* type) {
  if (is_loaded_kind(type, "collections", "deque") || is_loaded_kind(type, "array", "array")) return {Form::items, {}};
  if (has(type, "__dataclass_fields__")) return dataclass_choice(type);
  for (const char* name : {"date", "time"})  // a datetime is a date
    if (is_loaded_kind(type, "datetime", name)) return with_name(Form::method, "isoformat");
  if (is_loaded_kind(type, "datetime", "timedelta")) return with_name(Form::method, "total_seconds");
  if (is_loaded_kind(type, "decimal", "Decimal") || is_loaded_kind(type, "uuid", "UUID")) return {Form::text_of, {}};
  if (is_loaded_kind(type, "pathlib", "PurePath")) return with_name(Form::method, "__fspath__");
  if (is_loaded_kind(type, "numpy", "generic")) return with_name(Form::method, "item");
  if (has(type, "tolist") && has(type, "ndim") && has(type, "dtype")) return with_name(Form::method, "tolist");
  return {};
}

Choice default_choice(const Terms& terms, PyTypeObject* type) {
  if (const Form form = term_form(terms, type); form != Form::unknown) return {form, {}};
  // Before the builtin bases: an IntEnum is an int and a str-Enum a str, and numpy's float64 is a float.
  if (is_loaded_kind(type, "enum", "Enum")) return with_name(Form::attribute, "value");
  if (const Form form = builtin_form(type); form != Form::unknown) return {form, {}};
  return library_choice(type);
}

bool has_fixed_form(PyObject* type) {
  for (PyTypeObject* fixed : {&PyLong_Type, &PyFloat_Type, &PyUnicode_Type, &PyBytes_Type, &PyList_Type, &PyTuple_Type, &PyDict_Type,
                              &PyBool_Type, Py_TYPE(Py_None)})
    if (type == reinterpret_cast<PyObject*>(fixed)) return true;
  return false;
}

bool check_class(PyObject* type) {
  if (PyType_Check(type)) return true;
  PyErr_Format(PyExc_TypeError, "an encoder is registered for a class, not for %.100R", type);
  return false;
}

}  // namespace

Choice Encoders::find(const Gil& gil, PyTypeObject* type) const {
  const auto found = registered_.find(type);
  return found == registered_.end() ? Choice{} : Choice{Form::user, Ref::share(gil, found->second.extra.get())};
}

Choice Encoders::registered(const Gil& gil, PyTypeObject* type) const {
  PyObject* order = type->tp_mro;  // borrowed; a tuple
  if (registered_.empty() || !order) return {};
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(order); ++i) {
    auto* base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(order, i));
    if (base == &PyBaseObject_Type) continue;
    if (Choice choice = find(gil, base); choice.form != Form::unknown) return choice;
  }
  return {};
}

Choice Encoders::choose(const Gil& gil, PyTypeObject* type) {
  if (const auto found = chosen_.find(type); found != chosen_.end())
    return {found->second.form, Ref::share(gil, found->second.extra.get())};
  Choice choice = registered(gil, type);
  if (choice.form == Form::unknown) choice = default_choice(terms_, type);
  if (PyErr_Occurred()) return {};
  if (choice.form == Form::unknown) choice = find(gil, &PyBaseObject_Type);
  if (choice.form == Form::unknown) return choice;
  if (chosen_.size() >= kMaxChosen) forget_choices();
  chosen_.insert_or_assign(type, Entry{Ref::share(gil, reinterpret_cast<PyObject*>(type)), choice.form, Ref::share(gil, choice.extra.get())});
  return choice;
}

bool Encoders::add(const Gil& gil, PyObject* type, PyObject* function) {
  if (!check_class(type)) return false;
  if (has_fixed_form(type)) {
    PyErr_Format(PyExc_TypeError, "the encoding of %s is fixed; register a subclass of it", reinterpret_cast<PyTypeObject*>(type)->tp_name);
    return false;
  }
  if (!PyCallable_Check(function)) {
    PyErr_Format(PyExc_TypeError, "an encoder is a function of one argument, not %.100R", function);
    return false;
  }
  Entry entry{Ref::share(gil, type), Form::user, Ref::share(gil, function)};
  std::swap(registered_[reinterpret_cast<PyTypeObject*>(type)], entry);  // what was there ends after the table is whole again
  forget_choices();
  return true;
}

bool Encoders::remove(const Gil&, PyObject* type) {
  if (!check_class(type)) return false;
  const auto found = registered_.find(reinterpret_cast<PyTypeObject*>(type));
  if (found == registered_.end()) return false;
  const Entry last = std::move(found->second);
  registered_.erase(found);
  forget_choices();
  return true;
}

void Encoders::forget_choices() {
  // Dropping a class may run Python code, which may come back here: only once the table is whole again.
  Table gone;
  gone.swap(chosen_);
}

int Encoders::traverse(visitproc visit, void* arg) const {
  for (const Table* table : {&registered_, &chosen_})
    for (const auto& [type, entry] : *table) {
      if (const int stop = entry.type.traverse(visit, arg)) return stop;
      if (const int stop = entry.extra.traverse(visit, arg)) return stop;
    }
  return 0;
}

void Encoders::clear() {
  Table gone;
  gone.swap(registered_);
  forget_choices();
}

}  // namespace pyw
