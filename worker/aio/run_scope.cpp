#include "aio/run_scope.hpp"

namespace pyw::aio {

bool RunFunctions::make(const Gil& gil) {
  const auto take = [&gil](Ref& place, const char* module, const char* name) { return static_cast<bool>(place = attribute(gil, module, name)); };
  return take(get_running_loop, "asyncio.events", "_get_running_loop") && take(set_running_loop, "asyncio.events", "_set_running_loop") &&
         take(get_hooks, "sys", "get_asyncgen_hooks") && take(set_hooks, "sys", "set_asyncgen_hooks") &&
         (s_firstiter = Ref::steal(PyUnicode_InternFromString("_asyncgen_firstiter_hook"))) &&
         (s_finalizer = Ref::steal(PyUnicode_InternFromString("_asyncgen_finalizer_hook")));
}

RunScope::RunScope(const Gil&, Loop& loop) : loop_(loop), thread_before_(loop.thread()) {
  const RunFunctions& functions = loop.state().running;
  loop_before_ = Ref::steal(PyObject_CallNoArgs(functions.get_running_loop.get()));
  hooks_before_ = Ref::steal(PyObject_CallNoArgs(functions.get_hooks.get()));
  const Ref firstiter = Ref::steal(PyObject_GetAttr(loop.object(), functions.s_firstiter.get()));
  const Ref finalizer = Ref::steal(firstiter ? PyObject_GetAttr(loop.object(), functions.s_finalizer.get()) : nullptr);
  if (!loop_before_ || !hooks_before_ || !finalizer) return;
  PyObject* hooks[2] = {firstiter.get(), finalizer.get()};
  if (!Ref::steal(PyObject_Vectorcall(functions.set_hooks.get(), hooks, 2, nullptr))) return;
  ok_ = static_cast<bool>(Ref::steal(PyObject_CallOneArg(functions.set_running_loop.get(), loop.object())));
  if (ok_) loop.set_thread(PyThread_get_thread_ident());
}

RunScope::~RunScope() {
  if (!ok_) return;
  loop_.set_thread(thread_before_);
  const RunFunctions& functions = loop_.state().running;
  Ref pending = Ref::steal(compat::take_raised());
  if (!Ref::steal(PyObject_CallOneArg(functions.set_running_loop.get(), loop_before_.get())) ||
      !Ref::steal(PyObject_CallObject(functions.set_hooks.get(), hooks_before_.get())))
    PyErr_WriteUnraisable(loop_.object());
  if (pending) compat::restore_raised(pending.release());
}

}  // namespace pyw::aio
