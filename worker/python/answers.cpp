// The answering half of Executor: values, references, failures.
#include "python/exceptions.hpp"
#include "python/executor.hpp"

namespace pyw {

using port::Kind;

void Executor::answer(const Gil& gil, std::uint64_t id, std::uint8_t flags, const Ref& value) {
  if (!value) return answer_failure(gil, id);
  if (flags & port::kFlagReturnRef) {
    std::array<std::byte, 8> handle;
    port::put_u64(handle.data(), parts_.handles.add(gil, Ref::share(gil, value.get())));
    return parts_.outbox.append(Kind::ref, 0, id, handle);
  }
  if (flags & port::kFlagNoResult) return answer_atom(Kind::ok, id, "ok");
  reply_.begin(Kind::ok, 0, id);
  reply_.writer().version();
  failure_ = {};
  if (!parts_.codec.encode(gil, value.get(), reply_.writer(), "result", failure_.bad)) {
    reply_.writer().clear();  // ends leases here, under the GIL
    return answer_failure(gil, id);
  }
  if (reply_.overflowed() || reply_.writer().size() > parts_.max_frame) {
    const BadTerm bad{BadTerm::Kind::term, "result", "larger than max_frame (" + std::to_string(parts_.max_frame) + " bytes)"};
    reply_.writer().clear();
    return answer_bad_term(id, bad);
  }
  parts_.outbox.append(reply_);
}

void Executor::answer_failure(const Gil& gil, std::uint64_t id) {
  if (PyErr_Occurred()) return answer_exception(gil, id);
  if (!failure_.bad_request.empty()) return answer_text(id, "bad_request", failure_.bad_request);
  answer_bad_term(id, failure_.bad);
}

void Executor::answer_exception(const Gil& gil, std::uint64_t id) {
  const auto why = parts_.interrupts.take_fired(gil, id);
  if (why != session::Interrupt::none) {
    PyErr_Clear();  // ours: it has done what it was raised for
    return why == session::Interrupt::cancel ? answer_ended(id, port::Ended::cancelled) : answer_atom(Kind::error, id, "interrupted");
  }
  reply_.begin(Kind::error, 0, id);
  reply_.writer().version();
  if (write_exception(gil, parts_.codec, reply_.writer()) && !reply_.overflowed()) return parts_.outbox.append(reply_);
  PyErr_Clear();  // the report of the failure failed; what can be said is said below
  answer_text(id, "bad_request", "the exception could not be reported");
}

void Executor::answer_bad_term(std::uint64_t id, const BadTerm& bad) {
  if (bad.kind == BadTerm::Kind::reference) return answer_text(id, "bad_ref", bad.why);
  reply_.begin(Kind::error, 0, id);
  auto& out = reply_.writer();
  out.version();
  out.tuple(3);
  out.atom("bad_term");
  out.binary(bad.path);
  out.binary(bad.why);
  parts_.outbox.append(reply_);
}

void Executor::answer_text(std::uint64_t id, std::string_view tag, std::string_view why) {
  reply_.begin(Kind::error, 0, id);
  auto& out = reply_.writer();
  out.version();
  out.tuple(2);
  out.atom(tag);
  out.binary(why);
  parts_.outbox.append(reply_);
}

void Executor::answer_atom(Kind kind, std::uint64_t id, std::string_view atom) {
  reply_.begin(kind, 0, id);
  reply_.writer().version();
  reply_.writer().atom(atom);
  parts_.outbox.append(reply_);
}

void Executor::answer_ended(std::uint64_t id, port::Ended how) {
  const auto byte = static_cast<std::byte>(how);
  parts_.outbox.append(Kind::ended, 0, id, Bytes(&byte, 1));
}

}  // namespace pyw
