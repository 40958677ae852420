"""create_unix_connection and create_unix_server."""

import asyncio
import errno
import os
import pathlib
import socket
import tempfile

import pytest
from loop_support import Recorder, closed, soon, socketpair, turns


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders can be longer than a socket's address may be
        yield os.path.join(folder, "sock")


async def ended(server):
    server.close()
    await soon(server.wait_closed())


def accepting(queue):
    class Accepts(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            queue.put_nowait(self)

    return Accepts


async def round_trip(loop, server_address, client_address):
    queue = asyncio.Queue()
    server = await loop.create_unix_server(accepting(queue), server_address)
    transport, client = await soon(loop.create_unix_connection(Recorder, client_address))
    theirs = await soon(queue.get())
    transport.write(b"hi")
    assert await theirs.received(2) == b"hi"
    theirs.transport.write(b"ho")
    assert await client.received(2) == b"ho"
    info = transport.get_extra_info("peername")
    await closed(client, theirs)
    await ended(server)
    return info


@pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path])
def test_by_path(loop, run, path, kind):
    assert run(round_trip(loop, kind(path), kind(path))) == path


def test_by_abstract_name(loop, run):
    name = f"\0py_port test {os.getpid()} {id(loop)}"
    assert run(round_trip(loop, name, name)) == name.encode()


def test_with_sockets(loop, run, path):
    async def main():
        queue, listening = asyncio.Queue(), socket.socket(socket.AF_UNIX)
        listening.bind(path)
        server = await loop.create_unix_server(accepting(queue), sock=listening)
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        _, client = await soon(loop.create_unix_connection(Recorder, sock=sock))
        theirs = await soon(queue.get())
        await closed(client, theirs)
        await ended(server)

    run(main())


def test_a_server_takes_the_path_of_one_that_is_gone(loop, run, path):
    old = socket.socket(socket.AF_UNIX)
    old.bind(path)
    old.close()  # leaves the file
    run(round_trip(loop, path, path))


def test_a_server_does_not_take_the_path_of_a_file(loop, run, path):
    pathlib.Path(path).write_text("precious")

    async def main():
        with pytest.raises(OSError) as caught:
            await loop.create_unix_server(Recorder, path)
        assert caught.value.errno == errno.EADDRINUSE

    run(main())
    assert pathlib.Path(path).read_text() == "precious"


def test_the_permissions_of_a_folder_count(loop, run, path):
    async def main():
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_server(Recorder, path + "/no/such/folder")

    run(main())


@pytest.mark.needs_python(3, 13)
def test_the_socket_file_is_removed_with_the_server(loop, run, path):
    async def main():
        await ended(await loop.create_unix_server(Recorder, path))
        assert not os.path.exists(path)
        server = await loop.create_unix_server(Recorder, path, cleanup_socket=False)
        await ended(server)
        assert os.path.exists(path)

    run(main())


@pytest.mark.needs_python(3, 13)
def test_a_file_that_has_been_replaced_is_not_removed(loop, run, path):
    async def main():
        server = await loop.create_unix_server(Recorder, path)
        os.unlink(path)
        pathlib.Path(path).write_text("another's")
        await ended(server)
        assert pathlib.Path(path).read_text() == "another's"

    run(main())


def test_nobody_listens(loop, run, path):
    async def main():
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, path)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            with pytest.raises(ConnectionRefusedError):
                await loop.create_unix_connection(Recorder, path)

    run(main())


def test_a_path_that_is_too_long(loop, run):
    async def main():
        for create in (loop.create_unix_connection, loop.create_unix_server):
            with pytest.raises(OSError, match="too long"):
                await create(Recorder, "/tmp/" + "x" * 200)

    run(main())


@pytest.mark.parametrize("options", [{}, {"path": "/x", "sock": "a socket"}, {"path": "/x", "server_hostname": "x"},
                                     {"path": "/x", "ssl": True}, {"path": "/x", "ssl_handshake_timeout": 1}], ids=repr)
def test_a_connections_arguments_that_contradict_each_other(loop, run, options):
    async def main():
        one, two = socketpair()
        given = {key: one if value == "a socket" else value for key, value in options.items()}
        with pytest.raises(ValueError):
            await loop.create_unix_connection(Recorder, **given)
        one.close()
        two.close()

    run(main())


@pytest.mark.parametrize("options", [{}, {"path": "/x", "sock": "a socket"}, {"path": "/x", "ssl": True},
                                     {"path": "/x", "ssl_handshake_timeout": 1}], ids=repr)
def test_a_servers_arguments_that_contradict_each_other(loop, run, options):
    async def main():
        one, two = socketpair()
        given = {key: one if value == "a socket" else value for key, value in options.items()}
        with pytest.raises((ValueError, TypeError)):
            await loop.create_unix_server(Recorder, **given)
        one.close()
        two.close()

    run(main())


def test_only_unix_stream_sockets_are_taken(loop, run):
    async def main():
        for sock in (socket.socket(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)):
            with sock:
                with pytest.raises(ValueError, match="UNIX|Unix|Domain"):
                    await loop.create_unix_connection(Recorder, sock=sock)
                with pytest.raises(ValueError, match="UNIX|Unix|Domain"):
                    await loop.create_unix_server(Recorder, sock=sock)

    run(main())


def test_a_socketpair_can_be_used_from_both_sides(loop, run):
    async def main():
        one, two = socketpair()
        _, a = await loop.create_unix_connection(Recorder, sock=one)
        _, b = await loop.create_unix_connection(Recorder, sock=two)
        a.transport.write(b"x" * 1_000_000)
        assert len(await b.received(1_000_000)) == 1_000_000
        await closed(a, b)
        await turns()

    run(main())
