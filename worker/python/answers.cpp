// The answering half of Executor: values, references, failures.
#include <optional>

#include "python/exceptions.hpp"
#include "python/executor.hpp"

namespace pyw {

using port::Kind;

/// GIL: held from begin to end, but an encoder of the user's may run and answer something else meanwhile.
class Executor::Reply {
 public:
  explicit Reply(Executor& executor) : executor_(executor), mine_(!executor.reply_in_use_) {
    if (mine_)
      executor_.reply_in_use_ = true;
    else
      own_.emplace(executor.parts_.max_frame);
  }
  ~Reply() {
    if (mine_) executor_.reply_in_use_ = false;
  }
  Reply(const Reply&) = delete;
  port::FrameBuilder* operator->() { return &**this; }
  port::FrameBuilder& operator*() { return mine_ ? executor_.reply_ : *own_; }

 private:
  Executor& executor_;
  const bool mine_;
  std::optional<port::FrameBuilder> own_;
};

void Executor::answer(const Gil& gil, std::uint64_t id, std::uint8_t flags, const Ref& value) {
  if (!value) return answer_failure(gil, id, {});
  if (flags & port::kFlagReturnRef) {
    std::array<std::byte, 8> handle;
    port::put_u64(handle.data(), parts_.handles.add(gil, Ref::share(gil, value.get())));
    return parts_.outbox.append(Kind::ref, 0, id, handle);
  }
  if (flags & port::kFlagNoResult) return answer_atom(Kind::ok, id, "ok");
  Failure failure;
  {
    Reply reply(*this);
    reply->begin(Kind::ok, 0, id);
    reply->writer().version();
    if (parts_.codec.encode(gil, value.get(), reply->writer(), "result", failure.bad)) {
      if (!reply->overflowed() && reply->writer().size() <= parts_.max_frame) return parts_.outbox.append(*reply);
      failure.bad = {BadTerm::Kind::term, "result", "larger than max_frame (" + std::to_string(parts_.max_frame) + " bytes)"};
    }
    reply->writer().clear();  // ends leases here, under the GIL
  }
  answer_failure(gil, id, failure);
}

void Executor::answer_failure(const Gil& gil, std::uint64_t id, const Failure& failure) {
  if (PyErr_Occurred()) return answer_exception(gil, id);
  if (!failure.bad_request.empty()) return answer_text(id, "bad_request", failure.bad_request);
  answer_bad_term(id, failure.bad);
}

void Executor::answer_exception(const Gil& gil, std::uint64_t id) {
  auto why = parts_.interrupts.take_fired(gil, id);
  if (stopped_.erase(id) != 0 && comes_of_interrupt(gil)) why = session::Interrupt::cancel;
  if (why != session::Interrupt::none) {
    PyErr_Clear();  // ours: it has done what it was raised for
    return answer_interrupt(id, why);
  }
  {
    Reply reply(*this);
    reply->begin(Kind::error, 0, id);
    reply->writer().version();
    const bool written = write_exception(gil, parts_.codec, reply->writer()) && !reply->overflowed();
    // Reporting runs code of the user's, `__str__` say. What broke that off would leave half a report, with nothing that says why.
    why = parts_.interrupts.take_note(gil, id);
    if (written && why == session::Interrupt::none) return parts_.outbox.append(*reply);
    reply->writer().clear();
  }
  PyErr_Clear();  // the report of the failure failed; what can be said is said below
  if (why != session::Interrupt::none) return answer_interrupt(id, why);
  answer_text(id, "bad_request", "the exception could not be reported");
}

void Executor::answer_interrupt(std::uint64_t id, session::Interrupt why) {
  interrupted_ = true;
  why == session::Interrupt::cancel ? answer_ended(id, port::Ended::cancelled) : answer_atom(Kind::error, id, "interrupted");
}

void Executor::answer_bad_term(std::uint64_t id, const BadTerm& bad) {
  if (bad.kind == BadTerm::Kind::reference) return answer_text(id, "bad_ref", bad.why);
  Reply reply(*this);
  reply->begin(Kind::error, 0, id);
  auto& out = reply->writer();
  out.version();
  out.tuple(3);
  out.atom("bad_term");
  out.binary(bad.path);
  out.binary(bad.why);
  parts_.outbox.append(*reply);
}

void Executor::answer_text(std::uint64_t id, std::string_view tag, std::string_view why) {
  Reply reply(*this);
  reply->begin(Kind::error, 0, id);
  auto& out = reply->writer();
  out.version();
  out.tuple(2);
  out.atom(tag);
  out.binary(why);
  parts_.outbox.append(*reply);
}

void Executor::answer_atom(Kind kind, std::uint64_t id, std::string_view atom) {
  Reply reply(*this);
  reply->begin(kind, 0, id);
  reply->writer().version();
  reply->writer().atom(atom);
  parts_.outbox.append(*reply);
}

void Executor::answer_ended(std::uint64_t id, port::Ended how) {
  const auto byte = static_cast<std::byte>(how);
  parts_.outbox.append(Kind::ended, 0, id, Bytes(&byte, 1));
}

}  // namespace pyw
