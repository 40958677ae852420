"""Where reads end, whatever the pieces are in which a body arrives."""

import pytest
from erlang._body import Body

TEXT = b"one\ntwo\n\nthree"


def chopped(size):
    return [TEXT[at : at + size] for at in range(0, len(TEXT), size)]


def everything(body, want, pieces):
    """What reads with `want` give, when a piece arrives each time that it depends on it."""
    left, found = list(pieces), []
    while True:
        amount = want(body)
        while amount is None:
            body.add(left.pop(0)) if left else body.finish()
            amount = want(body)
        piece = body.take(amount)
        if not piece:
            return found
        found.append(piece)


@pytest.mark.parametrize("size", range(1, len(TEXT) + 1))
def test_the_pieces_do_not_change_what_is_read(size):
    assert everything(Body(), lambda body: body.line(-1), chopped(size)) == [b"one\n", b"two\n", b"\n", b"three"]
    assert everything(Body(), lambda body: body.line(3), chopped(size)) == [b"one", b"\n", b"two", b"\n", b"\n", b"thr", b"ee"]
    assert everything(Body(), lambda body: body.amount(5), chopped(size)) == [b"one\nt", b"wo\n\nt", b"hree"]
    assert everything(Body(), lambda body: body.amount(-1), chopped(size)) == [TEXT]
    assert b"".join(everything(Body(), lambda body: body.some(4), chopped(size))) == TEXT


def test_some_does_not_wait_for_more_than_something():
    body = Body()
    assert body.some(4) is None and body.some(0) == 0
    body.add(b"ab")
    assert body.some(4) == 2 and body.some(1) == 1 and body.some(None) == 2 and body.amount(4) is None


def test_a_known_length_is_an_end():
    body = Body(3)
    body.add(b"ab")
    assert not body.is_complete and body.amount(-1) is None
    body.add(b"c")
    assert body.is_complete and body.amount(-1) == 3 and body.line(-1) == 3
    assert Body(0).amount(-1) == 0


def test_lines_are_found_again_after_going_back():
    body = Body()
    body.add(b"a\nb")
    assert body.take(body.line(-1)) == b"a\n" and body.line(-1) is None
    assert body.move(0) == 0 and body.line(-1) == 2
    assert body.move(99) == 3 and body.unread == 0
