// Python objects -> encoded terms.

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <unordered_set>
#include <vector>

#include "python/codec.hpp"
#include "python/memory.hpp"
#include "python/path.hpp"

namespace pyw {
namespace {

constexpr std::uint32_t kBreath = 4096;  ///< values that are encoded between two looks at whether to go on
constexpr Py_ssize_t kRefer = 64 * 1024;  ///< from this size on, bytes are referred to instead of copied

Lease lease_of(PyObject* owner) {
  Py_INCREF(owner);
  return Lease([](void* what) { Py_DECREF(static_cast<PyObject*>(what)); }, owner);
}

Bytes bytes_at(const char* data, Py_ssize_t size) { return bytes_of({data, static_cast<std::size_t>(size)}); }

bool fits_count(Py_ssize_t size) { return size >= 0 && static_cast<std::uint64_t>(size) <= std::numeric_limits<std::uint32_t>::max(); }

unsigned key_type(PyObject* key) {
  if (PyUnicode_CheckExact(key)) return 1;
  if (PyLong_CheckExact(key)) return 2;
  return PyBytes_CheckExact(key) ? 4 : 8;
}

/// False: all keys are str, all are int or all are bytes, and then Python's equality is the equality of the terms.
bool keys_may_coincide(PyObject* dict) {
  unsigned seen = 0;
  Py_ssize_t position = 0;
  PyObject* key = nullptr;
  while (PyDict_Next(dict, &position, &key, nullptr))
    if ((seen |= key_type(key)) >= 8) return true;
  return (seen & (seen - 1)) != 0;
}

}  // namespace

/// One encode. Functions return false when bad_ is filled or an exception is pending; what is written by then is rubbish.
/// An object is held by whoever asks for its conversion: encoders run Python code, which may change every container.
class ToEtf {
 public:
  ToEtf(const Gil& gil, Codec& codec, etf::Writer& out, std::string_view root, BadTerm& bad)
      : gil_(gil), codec_(codec), out_(out), root_(root), bad_(bad) {}

  /// Exact types first, the frequent ones first among them.
  bool value(PyObject* object, const Step* at) {
    if (++values_ % kBreath == 0 && !goes_on()) [[unlikely]] return false;
    PyTypeObject* type = Py_TYPE(object);
    if (type == &PyUnicode_Type) return text(object, at);
    if (type == &PyLong_Type) return integer(object);
    if (type == &PyFloat_Type) return real(PyFloat_AS_DOUBLE(object));
    if (type == &PyList_Type) return list(object, at);
    if (type == &PyDict_Type) return dict(object, at);
    if (type == &PyTuple_Type) return tuple(object, at);
    if (type == &PyBytes_Type) return binary(object, PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object), at);
    if (object == Py_None) return constant(codec_.options_.none);
    if (object == Py_True) return constant("true");
    if (object == Py_False) return constant("false");
    return other(object, at);
  }

 private:
  bool fail(const Step* at, std::string why) {
    bad_ = {BadTerm::Kind::term, path_text(gil_, root_, at), std::move(why)};
    return false;
  }

  /// A few objects that hold each other many times are a term without end: it ends where a frame would, or when somebody stops it.
  bool goes_on() {
    if (out_.overflowed()) return false;  // encode() says so
    return PyErr_CheckSignals() == 0;
  }

  bool constant(std::string_view name) {
    out_.atom(name);
    return true;
  }

  bool enter(const Step* at) {
    const std::uint32_t most = codec_.options_.limits.max_depth;
    return depth_++ < most || fail(at, "nested deeper than " + std::to_string(most) + " levels (or it contains itself)");
  }
  bool leave() {
    --depth_;
    return true;
  }

  // --- leaves -------------------------------------------------------------------------------------------------------------------

  bool integer(PyObject* object) {
    int overflow = 0;
    const long long small = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0) [[unlikely]] return big(object, overflow < 0);
    out_.integer(small);
    return true;
  }

  bool big(PyObject* object, bool negative) {
    // int's own negation: a class that is derived from it may say something else.
    const Ref magnitude = negative ? Ref::steal(PyLong_Type.tp_as_number->nb_negative(object)) : Ref::share(gil_, object);
    const Py_ssize_t size = magnitude ? compat::long_magnitude_size(magnitude.get()) : -1;
    if (size < 0) return false;
    unsigned char few[256];
    std::unique_ptr<unsigned char[]> many;
    const auto wanted = static_cast<std::size_t>(size);
    if (wanted > sizeof few && !within_memory(gil_, [&] { many = std::make_unique<unsigned char[]>(wanted); })) return false;
    unsigned char* bytes = many ? many.get() : few;
    if (!compat::long_to_magnitude(magnitude.get(), bytes, wanted)) return false;
    out_.big(negative, bytes_at(reinterpret_cast<const char*>(bytes), size));
    return true;
  }

  bool real(double value) {
    if (std::isfinite(value)) [[likely]] {
      out_.real(value);
      return true;
    }
    return constant(std::isnan(value) ? "nan" : value > 0 ? "infinity" : "neg_infinity");
  }

  bool text(PyObject* object, const Step* at) {
    Py_ssize_t size = 0;
    const char* utf8 = nullptr;
    if (PyUnicode_IS_COMPACT_ASCII(object)) {
      utf8 = static_cast<const char*>(PyUnicode_DATA(object));
      size = PyUnicode_GET_LENGTH(object);
    } else if (!(utf8 = PyUnicode_AsUTF8AndSize(object, &size))) {
      if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) return false;
      PyErr_Clear();
      return fail(at, "a str with a lone surrogate, which UTF-8 cannot express");
    }
    return binary(object, utf8, size, at);
  }

  /// `owner` holds the memory, unchanged for as long as it lives.
  bool binary(PyObject* owner, const char* data, Py_ssize_t size, const Step* at) {
    if (!fits_count(size)) [[unlikely]] return fail(at, "longer than a binary can be");
    // Not in keys: duplicate() wants their bytes in one piece.
    if (size >= kRefer && keys_ == 0) [[unlikely]] out_.binary_reference(bytes_at(data, size), lease_of(owner));
    else out_.binary(bytes_at(data, size));
    return true;
  }

  bool buffer(PyObject* object, const Step* at) {
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) < 0) return false;
    bool done = fits_count(view.len) || fail(at, "longer than a binary can be");
    if (done && PyBuffer_IsContiguous(&view, 'C')) {
      out_.binary(bytes_at(static_cast<const char*>(view.buf), view.len));  // a copy: the owner may change it before it is sent
    } else if (done) {
      std::unique_ptr<char[]> copy;
      done = within_memory(gil_, [&] { copy = std::make_unique<char[]>(static_cast<std::size_t>(view.len)); }) &&
             PyBuffer_ToContiguous(copy.get(), &view, view.len, 'C') == 0;
      if (done) out_.binary(bytes_at(copy.get(), view.len));
    }
    PyBuffer_Release(&view);
    return done;
  }

  // --- containers ---------------------------------------------------------------------------------------------------------------

  bool list(PyObject* object, const Step* at) {
    const Py_ssize_t size = PyList_GET_SIZE(object);
    if (size == 0) {
      out_.nil();
      return true;
    }
    if (!fits_count(size)) return fail(at, "longer than a list can be");
    if (!enter(at)) return false;
    out_.list(static_cast<std::uint32_t>(size));
    Step here{at};
    for (Py_ssize_t i = 0; i < size; ++i) {
      if (PyList_GET_SIZE(object) != size) [[unlikely]] return changed(at);
      here.index = i;
      PyObject* item = PyList_GET_ITEM(object, i);
      if (PyFloat_CheckExact(item) && reals(object, i)) continue;
      Py_INCREF(item);
      const bool done = value(item, &here);
      Py_DECREF(item);
      if (!done) [[unlikely]] return false;
    }
    out_.nil();
    return leave();
  }

  /// Writes the finite floats that follow one another from `i` on, and moves `i` to the last of them. False: there is none. Runs no Python code.
  bool reals(PyObject* list, Py_ssize_t& i) {
    std::array<double, 256> values;
    std::size_t n = 0;
    for (; n < values.size() && i + static_cast<Py_ssize_t>(n) < PyList_GET_SIZE(list); ++n) {
      PyObject* item = PyList_GET_ITEM(list, i + static_cast<Py_ssize_t>(n));
      if (!PyFloat_CheckExact(item)) break;
      values[n] = PyFloat_AS_DOUBLE(item);
      if (!std::isfinite(values[n])) break;
    }
    if (n == 0) return false;
    out_.reals({values.data(), n});
    i += static_cast<Py_ssize_t>(n) - 1;
    return true;
  }

  bool changed(const Step* at) { return fail(at, "it was changed while it was encoded"); }

  bool tuple(PyObject* object, const Step* at) {
    const Py_ssize_t size = PyTuple_GET_SIZE(object);
    if (!fits_count(size)) return fail(at, "longer than a tuple can be");
    if (!enter(at)) return false;
    out_.tuple(static_cast<std::uint32_t>(size));
    Step here{at};
    for (here.index = 0; here.index < size; ++here.index)
      if (!value(PyTuple_GET_ITEM(object, here.index), &here)) [[unlikely]] return false;
    return leave();
  }

  bool dict(PyObject* object, const Step* at) {
    const Py_ssize_t size = PyDict_GET_SIZE(object);
    if (!fits_count(size)) return fail(at, "larger than a map can be");
    if (!enter(at)) return false;
    out_.map(static_cast<std::uint32_t>(size));
    std::vector<KeySpan> spans;
    const bool keep_spans = keys_may_coincide(object);
    Py_ssize_t position = 0, done = 0;
    PyObject *key = nullptr, *item = nullptr;
    for (; done < size && PyDict_Next(object, &position, &key, &item); ++done) {
      Py_INCREF(key);
      Py_INCREF(item);
      const bool written = pair(key, item, done, at, keep_spans ? &spans : nullptr);
      Py_DECREF(key);
      Py_DECREF(item);
      if (!written) [[unlikely]] return false;
    }
    if (done != size || PyDict_GET_SIZE(object) != size) return changed(at);
    Py_ssize_t twin = -1;
    if (!within_memory(gil_, [&] { twin = repeated(spans); })) return false;
    if (twin >= 0) {
      const Step here{at, Step::Kind::key, twin, nullptr};
      return fail(&here, "this key and one before it are equal in Erlang");
    }
    return leave();
  }

  /// Where an encoded key lies in the writer's own buffer.
  struct KeySpan {
    std::size_t begin, end;
  };

  bool pair(PyObject* key, PyObject* item, Py_ssize_t i, const Step* at, std::vector<KeySpan>* spans) {
    Step here{at, Step::Kind::key, i, key};
    const std::size_t begin = out_.buffer().size();
    ++keys_;
    if (!value(key, &here)) [[unlikely]] return false;
    --keys_;
    if (spans && !within_memory(gil_, [&] { spans->push_back({begin, out_.buffer().size()}); })) return false;
    here.kind = Step::Kind::value;
    return value(item, &here);
  }

  /// The position of a key whose encoding was there before; -1: all differ.
  Py_ssize_t repeated(const std::vector<KeySpan>& spans) const {
    std::unordered_set<std::string_view> known;
    known.reserve(spans.size());
    for (std::size_t i = 0; i < spans.size() && !out_.overflowed(); ++i) {
      const auto key = text_of(Bytes(out_.buffer()).subspan(spans[i].begin, spans[i].end - spans[i].begin));
      if (!known.insert(key).second) return static_cast<Py_ssize_t>(i);
    }
    return -1;
  }

  /// A list of what the object iterates over. Its length is known at the end only: a set may lie, and a range need not be small.
  bool items(PyObject* object, const Step* at) {
    const Ref iterator = Ref::steal(PyObject_GetIter(object));
    if (!iterator || !enter(at)) return false;
    const std::size_t opened = out_.open_list();
    Step here{at};
    for (;; ++here.index) {
      const Ref item = Ref::steal(PyIter_Next(iterator.get()));
      if (!item) break;
      if (!fits_count(here.index + 1) || out_.overflowed()) return fail(at, "more elements than a term may have");
      if (!value(item.get(), &here)) return false;
    }
    if (PyErr_Occurred()) return false;
    out_.close_list(opened, static_cast<std::uint32_t>(here.index));
    out_.nil();
    return leave();
  }

  bool improper(PyObject* object, const Step* at) {
    PyObject* before = improper_items(object);
    if (!enter(at)) return false;
    out_.list(static_cast<std::uint32_t>(PyTuple_GET_SIZE(before)));
    Step here{at};
    for (; here.index < PyTuple_GET_SIZE(before); ++here.index)
      if (!value(PyTuple_GET_ITEM(before, here.index), &here)) return false;
    here.kind = Step::Kind::tail;
    return value(improper_tail(object), &here) && leave();
  }

  bool dataclass(PyObject* object, PyObject* fields, const Step* at) {
    if (!enter(at)) return false;
    const Py_ssize_t size = PyTuple_GET_SIZE(fields);
    out_.map(static_cast<std::uint32_t>(size));
    for (Py_ssize_t i = 0; i < size; ++i) {
      PyObject* name = PyTuple_GET_ITEM(fields, i);
      const Step here{at, Step::Kind::field, i, name};
      const Ref field = Ref::steal(PyObject_GetAttr(object, name));
      if (!field) return missing_field(&here);
      if (!text(name, &here) || !value(field.get(), &here)) return false;
    }
    return leave();
  }

  bool missing_field(const Step* at) {
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return false;
    PyErr_Clear();
    return fail(at, "the dataclass has no value for this field");
  }

  // --- everything else ----------------------------------------------------------------------------------------------------------

  bool other(PyObject* object, const Step* at) {
    const Encoders::Choice choice = codec_.encoders_.choose(gil_, Py_TYPE(object));
    switch (choice.form) {
      case Form::integer: return integer(object);
      case Form::real: return real(PyFloat_AS_DOUBLE(object));
      case Form::text: return text(object, at);
      case Form::bytes: return binary(object, PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object), at);
      case Form::list: return list(object, at);
      case Form::tuple: return tuple(object, at);
      case Form::dict: return dict(object, at);
      case Form::buffer: return buffer(object, at);
      case Form::items: return items(object, at);
      case Form::dataclass: return dataclass(object, choice.extra.get(), at);
      case Form::improper: return improper(object, at);
      case Form::atom: return atom(object);
      case Form::opaque: return opaque(object);
      case Form::bitstring: out_.bitstring(bitstring_bytes(object), bitstring_last_bits(object)); return true;
      case Form::unknown: return !PyErr_Occurred() && fail(at, "a " + type_name(gil_, Py_TYPE(object)) + " has no counterpart in Erlang");
      default: return replaced(object, choice, at);
    }
  }

  bool atom(PyObject* object) {
    Py_ssize_t size = 0;
    const char* name = PyUnicode_AsUTF8AndSize(atom_text(object), &size);  // its maker saw to it that this is possible
    return name && constant({name, static_cast<std::size_t>(size)});
  }

  bool opaque(PyObject* object) {
    const Bytes encoded = opaque_bytes(object);
    if (encoded.size() >= kRefer && keys_ == 0) out_.raw_reference(encoded, lease_of(object));
    else out_.raw(encoded);
    return true;
  }

  static Ref replacement(PyObject* object, const Encoders::Choice& choice) {
    PyObject* extra = choice.extra.get();
    switch (choice.form) {
      case Form::attribute: return Ref::steal(PyObject_GetAttr(object, extra));
      case Form::method: return Ref::steal(PyObject_CallMethodObjArgs(object, extra, nullptr));
      case Form::text_of: return Ref::steal(PyObject_Str(object));
      case Form::user: return Ref::steal(PyObject_CallFunctionObjArgs(extra, object, nullptr));
      default: return {};
    }
  }

  /// What stands for the object is encoded in its place. It counts as one level, so that an encoder that returns what it got ends.
  bool replaced(PyObject* object, const Encoders::Choice& choice, const Step* at) {
    if (!enter(at)) return false;
    const Ref stand_in = replacement(object, choice);
    if (!stand_in) return false;
    if (choice.form == Form::method && Py_TYPE(stand_in.get()) == Py_TYPE(object))  // numpy.longdouble().item()
      return fail(at, "a " + type_name(gil_, Py_TYPE(object)) + " has no counterpart in Erlang");
    return value(stand_in.get(), at) && leave();
  }

  const Gil& gil_;
  Codec& codec_;
  etf::Writer& out_;
  std::string_view root_;
  BadTerm& bad_;
  std::uint32_t depth_ = 0;
  std::uint32_t values_ = 0;
  std::uint32_t keys_ = 0;  ///< how many keys we are inside of
};

bool Codec::encode(const Gil& gil, PyObject* value, etf::Writer& out, std::string_view root, BadTerm& bad, const Step* at) {
  bad = {};
  const bool done = ToEtf(gil, *this, out, root, bad).value(value, at);
  if (out.exhausted()) {
    bad = {};
    if (!PyErr_Occurred()) PyErr_NoMemory();
    return false;
  }
  if (!done && (bad || PyErr_Occurred())) return false;
  if (!out.overflowed()) return done;
  bad = {BadTerm::Kind::term, path_text(gil, root, at), "the term is larger than a frame may be"};
  return false;
}

}  // namespace pyw
