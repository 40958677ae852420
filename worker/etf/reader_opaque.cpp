#include <vector>

#include "etf/reader.hpp"
#include "etf/wire.hpp"

// The kinds that stay encoded: proved whole, stepped over, handed out as the bytes they are. Nothing is decoded, so ei has no part here.

namespace pyw::etf {
namespace {

bool is_fun(std::uint8_t tag) { return tag == kFun || tag == kNewFun; }

/// Asked before a part of an opaque term is read: no kind has itself as a part, so that reading parts cannot recurse deeply.
bool begins(Kind kind, std::uint8_t tag) {
  switch (kind) {
    case Kind::atom: return tag == kSmallAtomUtf8 || tag == kAtomUtf8 || tag == kSmallAtom || tag == kAtom;
    case Kind::integer: return tag == kSmallInteger || tag == kInteger;
    case Kind::pid: return tag == kPid || tag == kNewPid;
    default: return false;
  }
}

constexpr std::size_t kReferenceWords = 5;

}  // namespace

/// A part of an opaque term.
bool Reader::field(Kind wanted) {
  if (!has(1)) return truncated("a pid, port, reference or fun");
  if (!begins(wanted, load8(here()))) return malformed("a term of the wrong kind inside of a pid, port, reference or fun");
  ++promised_;
  Token token;
  return next(token);
}

/// Tag, some bytes, the node's name, some bytes.
bool Reader::opaque(Token& out, Kind kind, std::size_t before_node, std::size_t after_node) {
  const std::size_t start = at_;
  if (!has(1 + before_node)) return truncated("a pid, port or reference");
  at_ += 1 + before_node;
  if (!field(Kind::atom)) return false;
  if (!has(after_node)) return truncated("a pid, port or reference");
  at_ += after_node;
  out.kind = kind;
  out.bytes = input_.subspan(start, at_ - start);
  return true;
}

bool Reader::reference(Token& out, std::size_t creation_bytes) {
  if (!has(3)) return truncated("a reference");
  const std::size_t words = load16(here() + 1);
  if (words == 0 || words > kReferenceWords) return malformed("a reference that is not of 1 to 5 words");
  return opaque(out, Kind::reference, 2, creation_bytes + 4 * words);
}

bool Reader::export_fun(Token& out) {
  const std::size_t start = at_;
  ++at_;
  if (!field(Kind::atom) || !field(Kind::atom)) return false;
  if (!has(2)) return truncated("an external fun");
  if (load8(here()) != kSmallInteger) return malformed("an external fun whose arity is no small integer");
  at_ += 2;
  out.kind = Kind::export_;
  out.bytes = input_.subspan(start, at_ - start);
  return true;
}

/// A fun whose captured terms are being stepped over.
struct Reader::OpenFun {
  std::uint64_t promised_after = 0;  ///< what promised_ is when the last of them is through
  std::size_t end = 0;               ///< where its size field says that it ends; 0: it has none
};

/// The part before the terms: tag, size, arity, unique, index and number of captured terms, or tag and number.
bool Reader::fun_header(std::size_t& fixed, std::uint32_t& captured, std::size_t& end) {
  const bool sized = load8(here()) == kNewFun;
  fixed = sized ? 1 + 4 + 1 + 16 + 4 + 4 : 1 + 4;
  if (!has(fixed)) return truncated("a fun");
  captured = load32(here() + fixed - 4);
  end = 0;
  if (sized) end = at_ + 1 + load32(here() + 1);  // the size counts itself, but not the tag
  return true;
}

/// at_ stands at its tag, and afterwards at its first captured term.
bool Reader::open_fun(OpenFun& open) {
  const bool sized = load8(here()) == kNewFun;
  std::size_t fixed = 0;
  std::uint32_t captured = 0;
  if (!fun_header(fixed, captured, open.end)) return false;
  at_ += fixed;
  const bool fields = sized ? field(Kind::atom) && field(Kind::integer) && field(Kind::integer) && field(Kind::pid)
                            : field(Kind::pid) && field(Kind::atom) && field(Kind::integer) && field(Kind::integer);
  if (!fields) return false;
  open.promised_after = promised_;
  promised_ += captured;
  if (promised_ > input_.size() - at_) return truncated("a fun");
  return true;
}

/// Captured terms may be funs that captured funs: an own stack instead of recursion, because each has a size to be checked at its end.
bool Reader::fun(Token& out) {
  const std::size_t start = at_;
  OpenFun open;
  if (!open_fun(open)) return false;
  std::vector<OpenFun> outer;
  Token inner;
  for (;;) {
    if (promised_ == open.promised_after) {
      if (open.end != 0 && open.end != at_) return malformed("a fun whose size field does not agree with its content");
      if (outer.empty()) break;
      open = outer.back();
      outer.pop_back();
    } else if (has(1) && is_fun(load8(here()))) {
      if (depth_ + outer.size() >= limits_.max_depth) return fail("funs are nested deeper than " + std::to_string(limits_.max_depth) + " levels");
      if (!begin_token()) return false;
      outer.push_back(open);
      if (!open_fun(open)) return false;
    } else if (!next(inner)) {
      return false;
    }
  }
  out.kind = Kind::fun;
  out.bytes = input_.subspan(start, at_ - start);
  return true;
}

}  // namespace pyw::etf
