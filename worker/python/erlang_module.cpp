#include "python/erlang_module.hpp"

#include <cstring>
#include <limits>

#include "base/check.hpp"
#include "python/path.hpp"
#include "python/sandbox.hpp"

namespace pyw {
namespace {

ModuleState* state_pointer(PyObject* module) { return *static_cast<ModuleState**>(PyModule_GetState(module)); }

Codec& codec_of(ModuleState& state) {
  if (state.hooks.codec) return *state.hooks.codec;
  // Owned by the module, so it must not keep the module alive.
  if (!state.own) state.own = std::make_unique<Codec>(TypeOptions{}, state.handles, state.terms, state.encoders, Ref());
  return *state.own;
}

/// One bytes object of what the writer holds, pieces in between included.
PyObject* joined(etf::Writer& out) {
  PyObject* whole = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(out.size()));
  if (!whole) return nullptr;
  char* to = PyBytes_AS_STRING(whole);
  const auto put = [&to](Bytes bytes) {
    if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
    to += bytes.size();
  };
  std::size_t at = 0;
  const Bytes own(out.buffer());
  for (const auto& reference : out.references()) {
    put(own.subspan(at, reference.after - at));
    put(reference.bytes);
    at = reference.after;
  }
  put(own.subspan(at));
  return whole;
}

PyObject* term_to_binary(PyObject* module, PyObject* value) {
  const GilHeld gil;
  ModuleState& state = module_state(gil, module);
  etf::Writer out(std::numeric_limits<std::uint32_t>::max());
  out.version();
  BadTerm bad;
  if (codec_of(state).encode(gil, value, out, "term", bad)) return joined(out);
  return bad ? raise_term_error(state.terms, bad) : nullptr;
}

/// What an item failed with. Empty: an interrupt is pending, which is none of the item's business.
Ref failure_of(const BadTerm& bad) {
  if (bad) return Ref::steal(Py_BuildValue("(s#s#)", bad.path.data(), static_cast<Py_ssize_t>(bad.path.size()), bad.why.data(),
                                           static_cast<Py_ssize_t>(bad.why.size())));
  return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ? Ref() : Ref::steal(compat::take_raised());
}

PyObject* encode_items(PyObject* module, PyObject* args) {
  constexpr std::uint64_t kAround = 64;  // of the frame, for what the list is part of
  const GilHeld gil;
  PyObject* items = nullptr;
  Py_ssize_t first = 0, max_bytes = 0;
  if (!PyArg_ParseTuple(args, "O!nn:encode_items", &PyList_Type, &items, &first, &max_bytes)) return nullptr;
  ModuleState& state = module_state(gil, module);
  etf::Writer out(state.hooks.max_frame - kAround);
  const std::size_t opened = out.open_list();
  Ref failure = Ref::share(gil, Py_None);
  std::uint32_t count = 0;
  for (; count < PyList_GET_SIZE(items) && (count == 0 || out.size() < static_cast<std::uint64_t>(max_bytes)); ++count) {
    const Ref item = Ref::share(gil, PyList_GET_ITEM(items, count));
    const Step here{nullptr, Step::Kind::index, first + static_cast<Py_ssize_t>(count), nullptr};
    const auto before = out.mark();
    BadTerm bad;
    if (codec_of(state).encode(gil, item.get(), out, "item", bad, &here)) continue;
    const bool is_in_next = out.overflowed() && count != 0 && bad;
    out.rollback(before);
    if (is_in_next) break;
    failure = failure_of(bad);
    if (!failure) return nullptr;
    break;
  }
  out.close_list(opened, count);
  out.nil();
  const Ref whole = Ref::steal(joined(out));
  if (!whole) return nullptr;
  const Ref encoded = make_opaque(
      gil, state.terms.encoded, bytes_of({PyBytes_AS_STRING(whole.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(whole.get()))}));
  return encoded ? Py_BuildValue("(OIO)", encoded.get(), static_cast<unsigned>(count), failure.get()) : nullptr;
}

Ref decode_whole(const Gil& gil, Codec& codec, Bytes input, BadTerm& bad) {
  etf::Reader in(input, codec.options().limits);
  if (!in.version()) {
    bad = {BadTerm::Kind::term, "term", in.error()};
    return {};
  }
  Ref value = codec.decode(gil, in, "term", bad);
  if (!value || in.at_end()) return value;
  bad = {BadTerm::Kind::term, "term", "bytes follow the term"};
  return {};
}

PyObject* binary_to_term(PyObject* module, PyObject* data) {
  const GilHeld gil;
  ModuleState& state = module_state(gil, module);
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return nullptr;
  BadTerm bad;
  Ref value = decode_whole(gil, codec_of(state), bytes_of({static_cast<const char*>(view.buf), static_cast<std::size_t>(view.len)}), bad);
  PyBuffer_Release(&view);
  return bad ? raise_term_error(state.terms, bad) : value.release();
}

PyObject* register_encoder(PyObject* module, PyObject* args) {
  const GilHeld gil;
  PyObject *type = nullptr, *function = nullptr;
  if (!PyArg_ParseTuple(args, "OO:register_encoder", &type, &function)) return nullptr;
  if (!module_state(gil, module).encoders.add(gil, type, function)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* unregister_encoder(PyObject* module, PyObject* type) {
  const GilHeld gil;
  const bool was_there = module_state(gil, module).encoders.remove(gil, type);
  return PyErr_Occurred() ? nullptr : PyBool_FromLong(was_there);
}

PyMethodDef functions[] = {
    {"term_to_binary", term_to_binary, METH_O, "term_to_binary($module, value, /)\n--\n\nThe value in Erlang's external term format. Raises TermError."},
    {"binary_to_term", binary_to_term, METH_O, "binary_to_term($module, data, /)\n--\n\nThe Python value of one encoded term. Raises TermError."},
    {"encode_items", encode_items, METH_VARARGS,
     "encode_items($module, items, first, max_bytes, /)\n--\n\n(list, count, failure): as many of the items, encoded, as come before one that has no "
     "counterpart, and the one that reaches max_bytes at most. failure is None, (path, why) or an exception; paths count from first."},
    {"register_encoder", register_encoder, METH_VARARGS,
     "register_encoder($module, cls, function, /)\n--\n\nValues of cls and its subclasses are encoded as what function(value) returns."},
    {"unregister_encoder", unregister_encoder, METH_O, "unregister_encoder($module, cls, /)\n--\n\nTrue if there was one."},
    {nullptr, nullptr, 0, nullptr}};

int fill_module(PyObject* module) {
  const GilHeld gil;
  auto state = std::make_unique<ModuleState>();
  if (!state->terms.make(gil, module) || !add_outcall_functions(gil, module) || !add_sandbox_functions(gil, module)) return -1;
  *static_cast<ModuleState**>(PyModule_GetState(module)) = state.release();
  return 0;
}

int traverse_module(PyObject* module, visitproc visit, void* arg) {
  ModuleState* state = state_pointer(module);
  if (!state) return 0;
  if (const int stop = state->terms.traverse(visit, arg)) return stop;
  return state->encoders.traverse(visit, arg);
}

int clear_module(PyObject* module) {
  if (ModuleState* state = state_pointer(module)) state->encoders.clear();
  return 0;
}

void free_module(void* module) {
  auto** place = static_cast<ModuleState**>(PyModule_GetState(static_cast<PyObject*>(module)));
  if (place) delete std::exchange(*place, nullptr);
}

template <class F>
void* slot(F* function) {
  return reinterpret_cast<void*>(function);
}

PyModuleDef_Slot slots[] = {{Py_mod_exec, slot(fill_module)},
#if PY_VERSION_HEX >= 0x030C0000
                            {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
                            {0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "_erlang",
                          "The native half of the package erlang.",
                          sizeof(ModuleState*),
                          functions,
                          slots,
                          traverse_module,
                          clear_module,
                          free_module};

}  // namespace

PyObject* raise_term_error(const Terms& terms, const BadTerm& bad) {
  const auto text = [](const std::string& s) { return Ref::steal(PyUnicode_DecodeUTF8(s.data(), static_cast<Py_ssize_t>(s.size()), "replace")); };
  const Ref message = text(bad.path + ": " + bad.why), path = text(bad.path);
  if (!message || !path) return nullptr;
  const Ref error = Ref::steal(PyObject_CallFunctionObjArgs(terms.term_error.get(), message.get(), nullptr));
  if (error && PyObject_SetAttrString(error.get(), "path", path.get()) == 0) PyErr_SetObject(terms.term_error.get(), error.get());
  return nullptr;
}

ModuleState& module_state(const Gil&, PyObject* module) {
  ModuleState* state = state_pointer(module);
  PYW_CHECK(state, "the module is not _erlang");
  return *state;
}

Result<void> attach(const Gil& gil, const ModuleHooks& hooks) {
  const Ref module = Ref::steal(PyImport_ImportModule("_erlang"));
  if (!module) {
    PyErr_Clear();
    return Error{Errc::python, "the built-in module _erlang cannot be set up"};
  }
  module_state(gil, module.get()).hooks = hooks;
  return {};
}

}  // namespace pyw

PyObject* PyInit__erlang() { return PyModuleDef_Init(&pyw::definition); }
