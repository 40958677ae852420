"""getaddrinfo and getnameinfo of the loop; only names that need no network."""

import asyncio
import socket

import pytest
from loop_support import HAS_IPV6


def test_numbers_are_answered_like_by_socket(loop, run):
    for args, options in [
        (("127.0.0.1", 80), {"type": socket.SOCK_STREAM}),
        (("127.0.0.1", "80"), {"type": socket.SOCK_STREAM}),
        (("127.0.0.1", None), {}),
        (("127.0.0.1", 53), {"type": socket.SOCK_DGRAM, "proto": socket.IPPROTO_UDP}),
        (("127.0.0.1", 0), {"family": socket.AF_INET, "flags": socket.AI_NUMERICHOST}),
        ((None, 80), {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}),
        ((None, 80), {"type": socket.SOCK_STREAM}),
        (("localhost", 80), {"type": socket.SOCK_STREAM}),
        ((b"localhost", 80), {"type": socket.SOCK_STREAM}),
        (("127.0.0.1", "http"), {"type": socket.SOCK_STREAM}),
        (("127.0.0.1", 80), {"type": socket.SOCK_STREAM, "flags": socket.AI_CANONNAME}),
    ]:
        try:
            expected = socket.getaddrinfo(*args, **options)
        except socket.gaierror:
            continue  # a machine without /etc/services
        assert run(loop.getaddrinfo(*args, **options)) == expected, (args, options)


def test_the_parts_are_enums_and_tuples(loop, run):
    ((family, kind, proto, name, address),) = run(loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
    assert family is socket.AF_INET and kind is socket.SOCK_STREAM and proto == socket.IPPROTO_TCP
    assert name == "" and address == ("127.0.0.1", 80)


@pytest.mark.skipif(not HAS_IPV6, reason="no ::1 here")
def test_ipv6_addresses_have_four_parts(loop, run):
    ((family, *_, address),) = run(loop.getaddrinfo("::1", 80, type=socket.SOCK_STREAM))
    assert family is socket.AF_INET6 and address == ("::1", 80, 0, 0)


def test_names_that_do_not_exist_are_a_gaierror(loop, run):
    for name in ("no.such.name.invalid", "300.300.300.300"):
        with pytest.raises(socket.gaierror) as caught:
            run(loop.getaddrinfo(name, 80, flags=socket.AI_NUMERICHOST))
        assert caught.value.errno == socket.EAI_NONAME


def test_the_family_that_does_not_fit_is_a_gaierror(loop, run):
    with pytest.raises(socket.gaierror):
        run(loop.getaddrinfo("::1", 80, family=socket.AF_INET, flags=socket.AI_NUMERICHOST))


def test_a_service_that_does_not_exist_is_a_gaierror(loop, run):
    with pytest.raises(socket.gaierror):
        run(loop.getaddrinfo("127.0.0.1", "no-such-service", type=socket.SOCK_STREAM))


def test_bad_arguments_fail_like_those_of_socket(loop, run):
    for args in ((1.5, 80), (["x"], 80), ("127.0.0.1", 1.5), ("127.0.0.1", [])):
        with pytest.raises((TypeError, OSError)):
            run(loop.getaddrinfo(*args))


@pytest.mark.parametrize("name", ["x" * 64 + ".invalid", "a\0b", ".." + "x" * 70])
def test_names_that_no_resolver_takes_fail(loop, run, name):
    with pytest.raises((UnicodeError, OSError, ValueError)):
        run(loop.getaddrinfo(name, 80))


def test_many_at_once(loop, run):
    async def main():
        return await asyncio.gather(*(loop.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM) for port in range(1, 201)))

    assert [answer[0][4] for answer in run(main())] == [("127.0.0.1", port) for port in range(1, 201)]


def test_a_lookup_can_be_cancelled(loop, run):
    async def main():
        lookups = [asyncio.ensure_future(loop.getaddrinfo("localhost", port)) for port in range(20)]
        await asyncio.sleep(0)
        for lookup in lookups:
            lookup.cancel()
        answers = await asyncio.gather(*lookups, return_exceptions=True)
        assert all(isinstance(answer, (list, asyncio.CancelledError)) for answer in answers)

    run(main())


def test_getnameinfo_answers_like_socket(loop, run):
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert run(loop.getnameinfo(("127.0.0.1", 80), flags)) == ("127.0.0.1", "80")
    expected = socket.getnameinfo(("127.0.0.1", 80), 0)
    assert run(loop.getnameinfo(("127.0.0.1", 80))) == expected
    if HAS_IPV6:
        assert run(loop.getnameinfo(("::1", 80), flags)) == ("::1", "80")
        assert run(loop.getnameinfo(("::1", 80, 0, 0), flags)) == ("::1", "80")


@pytest.mark.parametrize("address", [("127.0.0.1",), (1, 2), ("not an address", 1), ()])
def test_getnameinfo_refuses_what_is_no_address(loop, run, address):
    with pytest.raises((OSError, TypeError, ValueError)):
        run(loop.getnameinfo(address, socket.NI_NUMERICHOST))
