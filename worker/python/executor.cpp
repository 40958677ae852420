#include "python/executor.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "python/exceptions.hpp"
#include "python/fork.hpp"
#include "python/memory.hpp"

namespace pyw {

using port::Kind;

/// What a vectorcall takes: positional values, then those of the keywords, with room for the callee's own use in front. Small calls
/// stay on the stack.
struct Executor::Arguments {
  static constexpr std::size_t kInline = 12;
  std::array<PyObject*, kInline + 1> small{};
  std::vector<PyObject*> large;
  std::size_t count = 0;
  std::size_t positional = 0;
  Ref names;  // tuple of keyword names, or empty

  Arguments() = default;
  Arguments(const Arguments&) = delete;
  ~Arguments() {
    for (std::size_t i = 0; i < count; ++i) Py_DECREF(data()[i + 1]);
  }
  PyObject** data() { return large.empty() ? small.data() : large.data(); }
  void reserve(std::size_t more) {
    if (large.empty() && count + more <= kInline) return;
    const bool moves = large.empty();
    large.resize(count + more + 1);
    if (moves) std::copy_n(small.begin(), count + 1, large.begin());
  }
  void push(Ref value) { data()[++count] = value.release(); }
};

/// One request on its way through the interpreter. Of its own, because a request may run while another one waits further down the stack.
class Executor::Run {
 public:
  explicit Run(Executor& executor) : executor_(executor), parts_(executor.parts_) {}
  Ref dispatch(const Gil& gil, const port::Frame& frame);
  const Failure& failure() const { return failure_; }

 private:
  Ref call(const Gil& gil, etf::Reader& in);
  Ref call_method(const Gil& gil, etf::Reader& in);
  Ref get_attribute(const Gil& gil, etf::Reader& in);
  Ref run_code(const Gil& gil, etf::Reader& in, CodeRunner::Mode mode);
  Ref invoke(const Gil& gil, PyObject* callable, etf::Reader& in);

  Ref decode(const Gil& gil, etf::Reader& in, std::string_view prefix);
  Ref decode_referenced(const Gil& gil, etf::Reader& in);
  Ref decode_namespace(const Gil& gil, etf::Reader& in);
  bool read_positional(const Gil& gil, etf::Reader& in, Arguments& out);
  bool read_keywords(const Gil& gil, etf::Reader& in, Arguments& out);
  Ref read_locals(const Gil& gil, etf::Reader& in);
  bool expect_tuple(etf::Reader& in, std::uint32_t arity);
  bool name_again(std::string path);
  bool bad_request(std::string why);
  bool malformed(const etf::Reader& in);

  Executor& executor_;
  const Parts& parts_;
  Failure failure_;
};

namespace {

bool is_awaitable(PyObject* value) {
  if (PyCoro_CheckExact(value)) return true;
  const PyAsyncMethods* async = Py_TYPE(value)->tp_as_async;
  return async && async->am_await;
}

bool result_is_awaited(Kind kind) { return kind == Kind::call || kind == Kind::method || kind == Kind::eval; }

}  // namespace

namespace {

/// A nested request may run above a coroutine that stands still, or in a callback of its loop. It is a call like any other all the same, so
/// no loop counts as running for it.
class NoRunningLoop {
 public:
  NoRunningLoop(const Gil&, bool nested) {
    if (!nested) return;
    PyObject* module = PyDict_GetItemString(PyImport_GetModuleDict(), "_asyncio");  // borrowed; not there: no loop runs
    if (!module) return;
    loop_ = Ref::steal(PyObject_CallMethod(module, "_get_running_loop", nullptr));
    if (!loop_ || loop_.get() == Py_None) return;
    set_ = Ref::steal(PyObject_GetAttrString(module, "_set_running_loop"));
    if (set_) set(Py_None);
  }
  ~NoRunningLoop() {
    if (!set_) return;
    PyObject* raised = compat::take_raised();
    set(loop_.get());
    if (raised) compat::restore_raised(raised);
  }
  NoRunningLoop(const NoRunningLoop&) = delete;

 private:
  void set(PyObject* loop) {
    if (!Ref::steal(PyObject_CallFunctionObjArgs(set_.get(), loop, nullptr))) PyErr_WriteUnraisable(set_.get());
  }
  Ref loop_;
  Ref set_;
};

}  // namespace

Executor::Executor(const Gil& gil, const Parts& parts) : parts_(parts), reply_(parts.max_frame), code_(gil) {}

Executor::Outcome Executor::run(const Gil& gil, const port::Frame& frame, Place place) {
  const auto& header = frame.header;
  const CurrentCall::Scope scope(gil, parts_.current, header);
  Run request(*this);
  Ref value;
  {
    const NoRunningLoop alone(gil, header.parent != 0);
    if (scope.entered()) value = request.dispatch(gil, frame);
  }
  if (in_forked_child()) end_forked_child(gil);
  if (value && result_is_awaited(header.kind) && is_awaitable(value.get())) {
    if (place.kind == Place::Kind::thread) {
      value = run_to_end(gil, value.get());
      if (in_forked_child()) end_forked_child(gil);
    } else if (parts_.tasks.start_task(gil, header.id, header.flags, value.get(), place.loop)) {
      return Outcome::task;
    } else {
      value.reset();
    }
  }
  const bool no_value = header.kind == Kind::exec;
  if (value)
    answer(gil, header.id, no_value ? header.flags | port::kFlagNoResult : header.flags, value);
  else
    answer_failure(gil, header.id, request.failure());
  if (in_forked_child()) end_forked_child(gil);  // an encoder forked
  if (place.kind != Place::Kind::main) stopped_.erase(header.id);  // it may have ended otherwise all the same
  return Outcome::answered;
}

Ref Executor::run_to_end(const Gil&, PyObject* awaitable) {
  const Ref module = Ref::steal(PyImport_ImportModule("erlang._context_loop"));
  return Ref::steal(module ? PyObject_CallMethod(module.get(), "run_to_end", "O", awaitable) : nullptr);
}

Ref Executor::Run::dispatch(const Gil& gil, const port::Frame& frame) {
  if (frame.lost()) return PyErr_NoMemory(), Ref();
  etf::Reader in(frame.payload(), parts_.limits);
  if (!in.version()) return malformed(in), Ref();
  switch (frame.header.kind) {
    case Kind::call: return call(gil, in);
    case Kind::eval: return run_code(gil, in, CodeRunner::Mode::eval);
    case Kind::exec: return run_code(gil, in, CodeRunner::Mode::exec);
    case Kind::method: return call_method(gil, in);
    case Kind::getattr: return get_attribute(gil, in);
    case Kind::to_term: return expect_tuple(in, 1) ? decode_referenced(gil, in) : Ref();
    default: return bad_request("not a request"), Ref();
  }
}

Ref Executor::Run::call(const Gil& gil, etf::Reader& in) {
  if (!expect_tuple(in, 4)) return {};
  const auto target = executor_.targets_.find(gil, in, failure_.bad_request);
  if (!target) return {};
  const Ref callable = TargetCache::resolve(gil, *target, parts_.interrupts);
  if (!callable) return {};
  return invoke(gil, callable.get(), in);
}

Ref Executor::Run::call_method(const Gil& gil, etf::Reader& in) {
  if (!expect_tuple(in, 4)) return {};
  Ref object = decode_referenced(gil, in);
  std::string name;
  if (!object || !read_name(in, "the method", name, failure_.bad_request)) return {};
  const auto path = split_name(gil, name, failure_.bad_request);
  if (path.empty()) return {};
  const Ref callable = attribute_path(gil, std::move(object), path);
  return callable ? invoke(gil, callable.get(), in) : Ref();
}

Ref Executor::Run::get_attribute(const Gil& gil, etf::Reader& in) {
  if (!expect_tuple(in, 2)) return {};
  Ref object = decode_referenced(gil, in);
  std::string name;
  if (!object || !read_name(in, "the attribute", name, failure_.bad_request)) return {};
  const auto path = split_name(gil, name, failure_.bad_request);
  return path.empty() ? Ref() : attribute_path(gil, std::move(object), path);
}

Ref Executor::Run::run_code(const Gil& gil, etf::Reader& in, CodeRunner::Mode mode) {
  etf::Token request;
  if (!in.next(request)) return malformed(in), Ref();
  if (request.kind != etf::Kind::tuple || (request.count != 2 && request.count != 3))
    return bad_request("not a tuple of 2 or 3"), Ref();
  Ref space;  // of its own while the code runs: it may be released meanwhile
  if (request.count == 3 && !(space = decode_namespace(gil, in))) return {};
  etf::Token source;
  if (!in.next(source)) return malformed(in), Ref();
  if (source.kind != etf::Kind::binary) return bad_request("the code is no binary"), Ref();
  const Bytes text = source.bytes;
  const Ref locals = read_locals(gil, in);
  if (!locals) return {};
  return executor_.code_.run(gil, text, mode, locals.get(), space ? PyModule_GetDict(space.get()) : nullptr);
}

Ref Executor::Run::invoke(const Gil& gil, PyObject* callable, etf::Reader& in) {
  Arguments arguments;
  if (!read_positional(gil, in, arguments) || !read_keywords(gil, in, arguments)) return {};
  if (!in.at_end()) return bad_request("bytes are left over behind the request"), Ref();
  return Ref::steal(PyObject_Vectorcall(callable, arguments.data() + 1, arguments.positional | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                        arguments.names.get()));
}

bool Executor::Run::read_positional(const Gil& gil, etf::Reader& in, Arguments& out) {
  etf::Token list;
  if (!in.next(list)) return malformed(in);
  if (list.kind == etf::Kind::string) {
    if (!within_memory(gil, [&] { out.reserve(list.bytes.size()); })) return false;
    for (const auto byte : list.bytes) {
      Ref value = Ref::steal(PyLong_FromLong(std::to_integer<long>(byte)));
      if (!value) return false;
      out.push(std::move(value));
    }
  } else if (list.kind == etf::Kind::list) {
    if (!within_memory(gil, [&] { out.reserve(list.count); })) return false;
    for (std::uint32_t i = 0; i < list.count; ++i) {
      Ref value = decode(gil, in, "args[");
      if (!value) {
        failure_.bad.path.insert(std::min<std::size_t>(5, failure_.bad.path.size()), std::to_string(i) + "]");
        return false;
      }
      out.push(std::move(value));
    }
    etf::Token tail;
    if (!in.next(tail)) return malformed(in);
    if (tail.kind != etf::Kind::nil) return bad_request("the arguments are an improper list");
  } else if (list.kind != etf::Kind::nil) {
    return bad_request("the arguments are no list");
  }
  out.positional = out.count;
  return true;
}

bool Executor::Run::read_keywords(const Gil& gil, etf::Reader& in, Arguments& out) {
  etf::Token map;
  if (!in.next(map)) return malformed(in);
  if (map.kind != etf::Kind::map) return bad_request("the keyword arguments are no map");
  if (map.count == 0) return true;
  out.reserve(map.count);
  out.names = Ref::steal(PyTuple_New(map.count));
  if (!out.names) return false;
  for (std::uint32_t i = 0; i < map.count; ++i) {
    std::string name;
    if (!read_name(in, "a keyword", name, failure_.bad_request)) return false;
    PyObject* text = PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), "strict");
    if (!text) return false;
    PyUnicode_InternInPlace(&text);
    PyObject** const known = &PyTuple_GET_ITEM(out.names.get(), 0);
    const bool again = std::find(known, known + i, text) != known + i;
    PyTuple_SET_ITEM(out.names.get(), i, text);
    if (again) return name_again("kwargs." + name);
    Ref value = decode(gil, in, "kwargs." + name);
    if (!value) return false;
    out.push(std::move(value));
  }
  return true;
}

Ref Executor::Run::read_locals(const Gil& gil, etf::Reader& in) {
  etf::Token map;
  if (!in.next(map)) return malformed(in), Ref();
  if (map.kind != etf::Kind::map) return bad_request("the locals are no map"), Ref();
  Ref dict = Ref::steal(PyDict_New());
  if (!dict) return {};
  for (std::uint32_t i = 0; i < map.count; ++i) {
    std::string name;
    if (!read_name(in, "a local's name", name, failure_.bad_request)) return {};
    const Ref key = Ref::steal(PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), "strict"));
    const Ref value = key ? decode(gil, in, "locals." + name) : Ref();
    if (!value || PyDict_SetItem(dict.get(), key.get(), value.get()) != 0) return {};
    if (PyDict_GET_SIZE(dict.get()) == i) return name_again("locals." + name), Ref();
  }
  return dict;
}

Ref Executor::Run::decode(const Gil& gil, etf::Reader& in, std::string_view prefix) {
  Ref value = parts_.codec.decode(gil, in, prefix, failure_.bad);
  return value;
}

Ref Executor::Run::decode_referenced(const Gil& gil, etf::Reader& in) { return decode(gil, in, "ref"); }

/// A module: its attributes are the names. Those that Erlang makes for its processes are erlang._namespaces.new().
Ref Executor::Run::decode_namespace(const Gil& gil, etf::Reader& in) {
  Ref space = decode_referenced(gil, in);
  if (!space || PyModule_Check(space.get())) return space;
  failure_.bad = {BadTerm::Kind::reference, "env", "the object that it refers to is no namespace"};
  return {};
}

bool Executor::Run::expect_tuple(etf::Reader& in, std::uint32_t arity) {
  etf::Token token;
  if (!in.next(token)) return malformed(in);
  if (token.kind != etf::Kind::tuple || token.count != arity)
    return bad_request("not a tuple of " + std::to_string(arity));
  return true;
}

/// `a` and `<<"a">>` are two keys of a map, and one name.
bool Executor::Run::name_again(std::string path) {
  failure_.bad = {BadTerm::Kind::term, std::move(path), "the name is there twice"};
  return false;
}

bool Executor::Run::bad_request(std::string why) {
  failure_.bad_request = std::move(why);
  return false;
}

bool Executor::Run::malformed(const etf::Reader& in) { return bad_request(in.error()); }

bool Executor::run_init(const Gil& gil, const std::string& text, bool is_module, etf::Writer& why) {
  Ref done;
  if (is_module) {
    const Ref name = Ref::steal(PyUnicode_FromString(text.c_str()));
    if (name) done = Ref::steal(PyImport_Import(name.get()));
  } else {
    done = code_.run(gil, bytes_of(text), CodeRunner::Mode::exec, nullptr, nullptr);
  }
  if (in_forked_child()) end_forked_child(gil);
  if (done) return true;
  if (!write_exception(gil, parts_.codec, why)) {
    PyErr_Clear();  // the report of the failure failed; the traceback may still be on stderr
    why.binary("init failed, and its exception could not be reported");
  }
  return false;
}

}  // namespace pyw
