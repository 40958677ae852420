// Encoded terms -> Python objects.

#include <algorithm>
#include <array>
#include <cstring>

#include "python/codec.hpp"
#include "python/path.hpp"
#include "python/utf8.hpp"

namespace pyw {

using etf::Kind;
using etf::Token;

/// One decode. Functions return a new reference, or null: then bad_ is filled, or an exception is pending.
/// They are raw pointers on purpose: they go straight into the slots of lists and tuples, which steal.
class FromEtf {
 public:
  FromEtf(const Gil& gil, Codec& codec, etf::Reader& in, std::string_view root, BadTerm& bad)
      : gil_(gil), codec_(codec), in_(in), root_(root), bad_(bad) {}

  PyObject* read(const Step* at) {
    Token token;
    if (!in_.next(token)) [[unlikely]] return malformed(at);
    return value(token, at);
  }

 private:
  PyObject* fail(const Step* at, std::string why) {
    bad_ = {BadTerm::Kind::term, path_text(gil_, root_, at), std::move(why)};
    return nullptr;
  }
  PyObject* malformed(const Step* at) { return fail(at, in_.error()); }

  PyObject* value(const Token& token, const Step* at) {
    switch (token.kind) {
      case Kind::integer: return PyLong_FromLongLong(token.integer);
      case Kind::real: return PyFloat_FromDouble(token.real);
      case Kind::binary: return binary(token.bytes, at);
      case Kind::atom: return atom(token.bytes, at);
      case Kind::nil: return PyList_New(0);
      default: return rare(token, at);
    }
  }

  PyObject* rare(const Token& token, const Step* at) {
    switch (token.kind) {
      case Kind::list: return list(token.count, at);
      case Kind::tuple: return tuple(token.count, at);
      case Kind::map: return map(token.count, at);
      case Kind::string: return string(token.bytes);
      case Kind::big: return big(token);
      case Kind::bitstring: return make_bitstring(gil_, terms(), token.bytes, token.last_bits).release();
      case Kind::pid: return make_opaque(gil_, terms().pid, token.bytes).release();
      case Kind::port: return make_opaque(gil_, terms().port, token.bytes).release();
      case Kind::reference: return make_opaque(gil_, terms().reference, token.bytes).release();
      case Kind::fun: return make_opaque(gil_, terms().fun, token.bytes).release();
      case Kind::export_: return make_opaque(gil_, terms().export_, token.bytes).release();
      default: return fail(at, "a token of unknown kind");
    }
  }

  const Terms& terms() const { return codec_.terms_; }

  static PyObject* string(Bytes bytes) {
    Ref list = Ref::steal(PyList_New(static_cast<Py_ssize_t>(bytes.size())));
    for (std::size_t i = 0; list && i < bytes.size(); ++i)
      PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), PyLong_FromLong(std::to_integer<long>(bytes[i])));  // 0..255 always exist
    return list.release();
  }

  static PyObject* big(const Token& token) {
    Ref magnitude = Ref::steal(compat::long_from_magnitude(reinterpret_cast<const unsigned char*>(token.bytes.data()), token.bytes.size()));
    if (!magnitude || !token.negative) return magnitude.release();
    return PyNumber_Negative(magnitude.get());
  }

  static PyObject* plain_bytes(Bytes bytes) {
    return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()), static_cast<Py_ssize_t>(bytes.size()));
  }

  PyObject* binary(Bytes bytes, const Step* at) {
    if (codec_.options_.binaries == TypeOptions::Binaries::bytes) return plain_bytes(bytes);
    const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
    if (bytes.size() > 1 && utf8::ascii_prefix(data, bytes.size()) == bytes.size()) {
      PyObject* text = PyUnicode_New(static_cast<Py_ssize_t>(bytes.size()), 127);
      if (text) std::memcpy(PyUnicode_DATA(text), data, bytes.size());
      return text;
    }
    if (utf8::valid(bytes)) return PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(data), static_cast<Py_ssize_t>(bytes.size()), nullptr);
    if (codec_.options_.binaries == TypeOptions::Binaries::automatic) return plain_bytes(bytes);
    return fail(at, "a binary that is not UTF-8, where binaries are to be str");
  }

  /// The atoms that are values of their own; null: an ordinary one.
  static PyObject* special(Bytes name) {
    const auto is = [name](const char* other) { return std::memcmp(name.data(), other, name.size()) == 0; };
    switch (name.size()) {
      case 3: return is("nil") ? Py_None : nullptr;
      case 4: return is("true") ? Py_True : is("none") ? Py_None : nullptr;
      case 5: return is("false") ? Py_False : nullptr;
      case 9: return is("undefined") ? Py_None : nullptr;
      default: return nullptr;
    }
  }

  PyObject* atom(Bytes name, const Step* at) {
    if (PyObject* known = special(name)) {
      Py_INCREF(known);
      return known;
    }
    Ref text = Ref::steal(codec_.texts_.get(name));
    if (!text) return undecodable(at, "an atom that is not UTF-8");
    return codec_.options_.atoms == TypeOptions::Atoms::str ? text.release() : atom_object(text.get());
  }

  PyObject* undecodable(const Step* at, const char* why) {
    if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) return nullptr;
    PyErr_Clear();
    return fail(at, why);
  }

  PyObject* atom_object(PyObject* name) {
    constexpr Py_ssize_t kMaxAtoms = 4096;  // then the cache starts again
    Ref& cache = codec_.atoms_;
    if (!cache || PyDict_GET_SIZE(cache.get()) >= kMaxAtoms) cache = Ref::steal(PyDict_New());
    if (!cache) return nullptr;
    Ref made = Ref::share(gil_, PyDict_GetItemWithError(cache.get(), name));
    if (made || PyErr_Occurred()) return made.release();
    made = make_atom(gil_, terms(), name);
    if (!made || PyDict_SetItem(cache.get(), name, made.get()) < 0) return nullptr;
    return made.release();
  }

  PyObject* list(std::uint32_t count, const Step* at) {
    if (!in_.enter()) return malformed(at);
    Ref made = Ref::steal(PyList_New(static_cast<Py_ssize_t>(count)));
    if (!made) return nullptr;
    Step here{at};
    Token token;
    for (Py_ssize_t i = 0; i < static_cast<Py_ssize_t>(count); ++i) {
      here.index = i;
      if (!in_.next(token)) [[unlikely]] return malformed(&here);
      PyObject* item = value(token, &here);
      if (!item) [[unlikely]] return nullptr;
      PyList_SET_ITEM(made.get(), i, item);
      if (token.kind == Kind::real && !reals(made.get(), i)) return nullptr;
    }
    here.kind = Step::Kind::tail;
    if (!in_.next(token)) return malformed(&here);
    if (token.kind != Kind::nil && !add_tail(made, token, &here)) return nullptr;
    in_.leave();
    return made.release();
  }

  /// Where one float was, more may follow: fills the list behind `i` with those that do, and moves `i` to the last of them.
  bool reals(PyObject* list, Py_ssize_t& i) {
    std::array<double, 256> values;
    for (;;) {
      const auto left = static_cast<std::size_t>(PyList_GET_SIZE(list) - i - 1);
      const std::size_t n = in_.next_reals({values.data(), std::min(left, values.size())});
      for (std::size_t k = 0; k < n; ++k) {
        PyObject* item = PyFloat_FromDouble(values[k]);
        if (!item) return false;
        PyList_SET_ITEM(list, ++i, item);
      }
      if (n < values.size()) return true;
    }
  }

  /// [A, B | Tail]: the list becomes an ImproperList, or grows if the tail is a list after all.
  bool add_tail(Ref& list, const Token& token, const Step* at) {
    const Ref tail = Ref::steal(value(token, at));
    if (!tail) return false;
    if (PyList_CheckExact(tail.get()) && (token.kind == Kind::list || token.kind == Kind::string)) {
      const Py_ssize_t size = PyList_GET_SIZE(list.get());
      return PyList_SetSlice(list.get(), size, size, tail.get()) == 0;
    }
    const Ref items = Ref::steal(PyList_AsTuple(list.get()));
    if (!items) return false;
    list = make_improper(gil_, terms(), items.get(), tail.get());
    return static_cast<bool>(list);
  }

  PyObject* tuple(std::uint32_t count, const Step* at) {
    if (!in_.enter()) return malformed(at);
    Step here{at};
    Token token;
    Tag tag = Tag::none;
    Ref made = Ref::steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
    if (!made) return nullptr;
    for (Py_ssize_t i = 0; i < static_cast<Py_ssize_t>(count); ++i) {
      here.index = i;
      if (!in_.next(token)) [[unlikely]] return malformed(&here);
      if (i == 0 && token.kind == Kind::atom) tag = tag_of(token.bytes, count);
      PyObject* item = nullptr;
      if (i == 1 && tag == Tag::bytes && token.kind == Kind::binary) {
        in_.leave();
        return plain_bytes(token.bytes);
      }
      item = value(token, &here);
      if (!item) [[unlikely]] return nullptr;
      PyTuple_SET_ITEM(made.get(), i, item);
    }
    in_.leave();
    if (tag == Tag::py_ref) return referred(std::move(made), at);
    return tag == Tag::py_buffer ? buffer(made) : made.release();
  }

  enum class Tag : std::uint8_t { none, bytes, py_ref, py_buffer };
  static Tag tag_of(Bytes name, std::uint32_t arity) {
    if (arity == 2 && text_of(name) == "bytes") return Tag::bytes;
    if (arity != 4) return Tag::none;
    return text_of(name) == "$py_ref" ? Tag::py_ref : text_of(name) == "$py_buffer" ? Tag::py_buffer : Tag::none;
  }

  /// {'$py_buffer', Pid, Length, Count}: the file-like object that reads from it; what only begins so is given back as the tuple it is.
  static PyObject* buffer(const Ref& tuple) {
    const Ref module = Ref::steal(PyImport_ImportModule("erlang._buffer"));
    return module ? PyObject_CallMethod(module.get(), "opened", "(O)", tuple.get()) : nullptr;
  }

  /// {'$py_ref', Owner, Incarnation, Handle}: the object; any other tuple that begins so is just a tuple.
  PyObject* referred(Ref tuple, const Step* at) {
    PyObject* owner = PyTuple_GET_ITEM(tuple.get(), 1);
    std::uint64_t incarnation = 0, handle = 0;
    if (reinterpret_cast<PyObject*>(Py_TYPE(owner)) != terms().pid.get() || !unsigned_item(tuple, 2, incarnation) ||
        !unsigned_item(tuple, 3, handle))
      return tuple.release();
    if (incarnation != codec_.options_.incarnation) return bad_reference(at, "the object reference is of an earlier life of this context, or of another one");
    PyObject* object = codec_.handles_.find(gil_, handle);
    if (!object) return bad_reference(at, "the object reference was released");
    Py_INCREF(object);
    return object;
  }

  static bool unsigned_item(const Ref& tuple, Py_ssize_t i, std::uint64_t& out) {
    PyObject* item = PyTuple_GET_ITEM(tuple.get(), i);
    if (!PyLong_CheckExact(item)) return false;
    out = PyLong_AsUnsignedLongLong(item);
    if (out != static_cast<std::uint64_t>(-1) || !PyErr_Occurred()) return true;
    PyErr_Clear();  // negative, or longer than 64 bits: not one of ours
    return false;
  }

  PyObject* bad_reference(const Step* at, const char* why) {
    fail(at, why);
    bad_.kind = BadTerm::Kind::reference;
    return nullptr;
  }

  PyObject* map(std::uint32_t pairs, const Step* at) {
    if (!in_.enter()) return malformed(at);
    Ref made = Ref::steal(compat::dict_with_room(static_cast<Py_ssize_t>(pairs)));
    if (!made) return nullptr;
    Step here{at};
    for (Py_ssize_t i = 0; i < static_cast<Py_ssize_t>(pairs); ++i) {
      here = {at, Step::Kind::key, i, nullptr};
      PyObject* key = map_key(&here);
      if (!key) return nullptr;
      here = {at, Step::Kind::value, i, key};
      const bool added = add_pair(made.get(), key, &here);
      Py_DECREF(key);
      if (!added) return nullptr;
    }
    in_.leave();
    return made.release();
  }

  PyObject* map_key(const Step* at) {
    Token token;
    if (!in_.next(token)) [[unlikely]] return malformed(at);
    const bool short_text = token.kind == Kind::binary && token.bytes.size() <= TextCache::kMaxSize &&
                            codec_.options_.binaries != TypeOptions::Binaries::bytes &&
                            utf8::ascii_prefix(reinterpret_cast<const unsigned char*>(token.bytes.data()), token.bytes.size()) == token.bytes.size();
    return short_text ? codec_.texts_.get(token.bytes) : value(token, at);
  }

  bool add_pair(PyObject* dict, PyObject* key, Step* here) {
    Token token;
    if (!in_.next(token)) [[unlikely]] return malformed(here);
    PyObject* item = value(token, here);
    if (!item) return false;
    const int failed = PyDict_SetItem(dict, key, item);
    Py_DECREF(item);
    if (!failed && PyDict_GET_SIZE(dict) == here->index + 1) [[likely]] return true;
    return bad_key(failed != 0, key, here);
  }

  bool bad_key(bool failed, PyObject* key, Step* here) {
    here->kind = Step::Kind::key;
    if (!failed) {
      here->kind = Step::Kind::value;
      return fail(here, "two keys of the map are equal in Python");
    }
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) return false;
    PyErr_Clear();
    return fail(here, "a " + type_name(gil_, Py_TYPE(key)) + " cannot be a key of a dict");
  }

  const Gil& gil_;
  Codec& codec_;
  etf::Reader& in_;
  std::string_view root_;
  BadTerm& bad_;
};

Ref Codec::decode(const Gil& gil, etf::Reader& in, std::string_view root, BadTerm& bad) {
  bad = {};
  return Ref::steal(FromEtf(gil, *this, in, root, bad).read(nullptr));
}

}  // namespace pyw
