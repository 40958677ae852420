#include "python/exceptions.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace pyw {
namespace {

constexpr std::size_t kMaxMessage = 64 * 1024;
constexpr std::size_t kMaxFormatted = 256 * 1024;
constexpr std::size_t kMaxSource = 1024;
constexpr std::size_t kMaxNotes = 100;
constexpr std::size_t kMaxFrames = 100;
constexpr std::size_t kMaxChain = 10;

/// A part that could not be had is left empty, here and only here: there is nobody left to tell, the exception that is being written matters more.
void give_up() { PyErr_Clear(); }

/// At most `limit` bytes of the text, cut between two characters. Empty if it is no str, or there is no memory for it.
std::string utf8_of(const Ref& text, std::size_t limit) {
  if (!text || !PyUnicode_Check(text.get())) {
    give_up();
    return {};
  }
  const Py_ssize_t most = static_cast<Py_ssize_t>(limit);
  const Ref start = Ref::steal(PyUnicode_Substring(text.get(), 0, most));
  const Ref bytes = Ref::steal(start ? PyUnicode_AsEncodedString(start.get(), "utf-8", "backslashreplace") : nullptr);
  if (!bytes) {
    give_up();
    return {};
  }
  std::size_t size = static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get()));
  const char* data = PyBytes_AS_STRING(bytes.get());
  if (size > limit) {
    size = limit;
    while (size > 0 && (static_cast<unsigned char>(data[size]) & 0xC0) == 0x80) --size;
  }
  return {data, size};
}

Ref attribute(PyObject* object, const char* name) {
  Ref value = Ref::steal(PyObject_GetAttrString(object, name));
  if (!value) give_up();
  return value;
}

std::string text_attribute(PyObject* object, const char* name) { return utf8_of(attribute(object, name), kMaxSource); }

Ref function_of(const char* module, const char* name) {
  const Ref found = Ref::steal(PyImport_ImportModule(module));
  if (!found) {
    give_up();
    return {};
  }
  return attribute(found.get(), name);
}

struct Frame {
  std::string file, function, source;
  long line = 0;
};

/// Writes one exception and the ones it came from.
class ExceptionWriter {
 public:
  ExceptionWriter(const Gil& gil, etf::Writer& out) : gil_(gil), out_(out), line_of_(function_of("linecache", "getline")) {}

  void write(PyObject* exception, const std::string& formatted) {
    written_.push_back(exception);
    auto* type = reinterpret_cast<PyObject*>(Py_TYPE(exception));
    out_.map(8);
    entry("type", text_attribute(type, "__qualname__"));
    entry("module", text_attribute(type, "__module__"));
    entry("message", message_of(exception));
    out_.atom("traceback");
    traceback(exception);
    out_.atom("cause");
    const Ref cause = Ref::steal(PyException_GetCause(exception));
    chained(cause.get());
    out_.atom("context");
    const Ref context = Ref::steal(PyException_GetContext(exception));
    chained(cause || suppressed(exception) ? nullptr : context.get());
    out_.atom("notes");
    notes(exception);
    entry("formatted", formatted);
    written_.pop_back();
  }

  static std::string message_of(PyObject* exception) {
    const Ref text = Ref::steal(PyObject_Str(exception));
    if (text) return utf8_of(text, kMaxMessage);
    give_up();
    return "<exception str() failed>";  // Python's own words
  }

 private:
  void entry(const char* key, const std::string& value) {
    out_.atom(key);
    out_.binary(value);
  }

  static bool suppressed(PyObject* exception) {
    const Ref flag = attribute(exception, "__suppress_context__");
    return flag && flag.get() == Py_True;
  }

  void chained(PyObject* exception) {
    const bool loop = std::find(written_.begin(), written_.end(), exception) != written_.end();
    if (!exception || loop || written_.size() > kMaxChain) {
      out_.atom("none");
      return;
    }
    write(exception, own_lines(exception));
  }

  /// "ValueError: bad", or more for a SyntaxError.
  static std::string own_lines(PyObject* exception);

  void notes(PyObject* exception) {
    const Ref list = attribute(exception, "__notes__");
    std::vector<std::string> texts;
    if (list && PyList_CheckExact(list.get()))
      for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list.get()) && texts.size() < kMaxNotes; ++i)
        texts.push_back(utf8_of(Ref::share(gil_, PyList_GET_ITEM(list.get(), i)), kMaxMessage));
    if (!texts.empty()) out_.list(static_cast<std::uint32_t>(texts.size()));
    for (const auto& text : texts) out_.binary(text);
    out_.nil();
  }

  void traceback(PyObject* exception) {
    const std::vector<Ref> entries = entries_of(exception);
    const std::size_t count = entries.size();
    const bool cut = count > kMaxFrames;
    const std::size_t head = cut ? kMaxFrames / 2 : count, tail = cut ? kMaxFrames - head - 1 : 0;
    if (count > 0) out_.list(static_cast<std::uint32_t>(cut ? kMaxFrames : count));
    for (std::size_t i = 0; i < head; ++i) frame(frame_of(entries[i].get()));
    if (cut) frame({"", "... " + std::to_string(count - head - tail) + " more frames ...", "", 0});
    for (std::size_t i = count - tail; i < count; ++i) frame(frame_of(entries[i].get()));
    out_.nil();
  }

  std::vector<Ref> entries_of(PyObject* exception) const {
    std::vector<Ref> entries;
    for (Ref entry = Ref::steal(PyException_GetTraceback(exception)); entry && entry.get() != Py_None;) {
      Ref next = attribute(entry.get(), "tb_next");
      entries.push_back(std::move(entry));
      entry = std::move(next);
    }
    return entries;
  }

  void frame(const Frame& frame) {
    out_.map(4);
    entry("file", frame.file);
    out_.atom("line");
    out_.integer(frame.line);
    entry("function", frame.function);
    entry("source", frame.source);
  }

  Frame frame_of(PyObject* entry) const {
    const Ref frame = attribute(entry, "tb_frame"), number = attribute(entry, "tb_lineno");
    const Ref code = frame ? attribute(frame.get(), "f_code") : Ref();
    if (!code) return {};
    const long line = number && PyLong_Check(number.get()) ? PyLong_AsLong(number.get()) : 0;
    const Ref file = attribute(code.get(), "co_filename");
    return {utf8_of(file, kMaxSource), text_attribute(code.get(), "co_name"), source_of(file, line, frame.get()), std::max(line, 0L)};
  }

  std::string source_of(const Ref& file, long line, PyObject* frame) const {
    if (!line_of_ || !file || line < 1) return {};
    const Ref globals = attribute(frame, "f_globals");
    const Ref number = Ref::steal(PyLong_FromLong(line));
    if (!globals || !number) return {};
    std::string text = utf8_of(Ref::steal(PyObject_CallFunctionObjArgs(line_of_.get(), file.get(), number.get(), globals.get(), nullptr)), kMaxSource);
    constexpr const char* kSpace = " \t\r\n\f";
    const std::size_t begin = text.find_first_not_of(kSpace);
    return begin == std::string::npos ? std::string() : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
  }

  const Gil& gil_;
  etf::Writer& out_;
  Ref line_of_;
  std::vector<PyObject*> written_;  ///< from the outermost to the one at hand; borrowed from the chain, which the outermost holds
};

/// What `traceback.FUNCTION(type, exception[, traceback])` gives, in one piece; empty if it fails.
std::string lines_of(const char* function, PyObject* exception, PyObject* traceback) {
  const Ref format = function_of("traceback", function);
  const Ref lines = Ref::steal(
      format ? PyObject_CallFunctionObjArgs(format.get(), reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception, traceback, nullptr) : nullptr);
  const Ref nothing = Ref::steal(PyUnicode_FromString(""));
  const Ref joined = Ref::steal(lines && nothing ? PyUnicode_Join(nothing.get(), lines.get()) : nullptr);
  return utf8_of(joined, kMaxFormatted);
}

std::string fallback(PyObject* exception) {
  auto* type = reinterpret_cast<PyObject*>(Py_TYPE(exception));
  const std::string message = ExceptionWriter::message_of(exception);
  return text_attribute(type, "__qualname__") + (message.empty() ? "" : ": " + message) + "\n";
}

std::string ExceptionWriter::own_lines(PyObject* exception) {
  const std::string lines = lines_of("format_exception_only", exception, nullptr);
  return lines.empty() ? fallback(exception) : lines;
}

std::string formatted_of(const Gil& gil, PyObject* exception) {
  Ref traceback = Ref::steal(PyException_GetTraceback(exception));
  if (!traceback) traceback = Ref::share(gil, Py_None);
  const std::string lines = lines_of("format_exception", exception, traceback.get());
  return lines.empty() ? fallback(exception) : lines;
}

}  // namespace

bool write_exception(const Gil& gil, Codec&, etf::Writer& out) {
  const Ref exception = Ref::steal(compat::take_raised());
  if (!exception) return false;
  const std::string formatted = formatted_of(gil, exception.get());
  out.tuple(2);
  out.atom("python");
  ExceptionWriter(gil, out).write(exception.get(), formatted);
  return true;
}

}  // namespace pyw
