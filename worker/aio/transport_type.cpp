#include "aio/transport_type.hpp"

#include "aio/loop.hpp"
#include "aio/members.hpp"

namespace pyw::aio {

namespace {

template <class Head>
PyMemberDef members_of[] = {{"__weaklistoffset__", T_PYSSIZET, offsetof(Head, weak_references), READONLY, nullptr},
                            {"__dictoffset__", T_PYSSIZET, offsetof(Head, dict), READONLY, nullptr},
                            {nullptr, 0, 0, 0, nullptr}};

}  // namespace

void* ProtocolHead::members() { return members_of<ProtocolHead>; }
void* TransportHead::members() { return members_of<TransportHead>; }

int init_nothing(PyObject*, PyObject*, PyObject*) { return 0; }

Ref add_type(const Gil&, PyObject* module, PyType_Spec& spec, std::size_t room, const Ref& bases) {
  if (!bases) return {};
  const auto* base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(bases.get(), 0));
  if (base->tp_basicsize > static_cast<Py_ssize_t>(room) || base->tp_dictoffset != 0 || base->tp_weaklistoffset != 0) {
    PyErr_Format(PyExc_ImportError, "asyncio's %s has more slots than this version of py_port knows", base->tp_name);
    return {};
  }
  Ref type = Ref::steal(PyType_FromModuleAndSpec(module, &spec, bases.get()));
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0 ? std::move(type) : Ref();
}

bool is_open_loop(const State& state, PyObject* loop) {
  if (!PyObject_TypeCheck(loop, reinterpret_cast<PyTypeObject*>(state.loop.get()))) {
    PyErr_SetString(PyExc_TypeError, "the loop must be an erlang.ErlangEventLoop");
    return false;
  }
  if (!loop_of(loop).closed()) return true;
  PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
  return false;
}

bool can_be_connected(const State& state, PyObject* protocol) {
  return static_cast<bool>(Ref::steal(PyObject_GetAttr(protocol, state.s_connection_made.get())));
}

}  // namespace pyw::aio
