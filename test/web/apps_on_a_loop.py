"""Libraries of asyncio's world, each as client and server of itself on whatever loop runs: aiohttp, websockets, anyio, httpx.

A coroutine of this module is a story that ends or raises. `python apps_on_a_loop.py NAME CERTIFICATE KEY` runs one of them on
`erlang.run` and prints the loop's type; in a context the handlers ask Erlang, see `asking`.
"""

import asyncio
import functools
import io
import os
import signal
import socket
import ssl
import sys
import tempfile

import aiohttp
import anyio
import erlang
import httpx
import websockets
from aiohttp import web


def tls(certificate, key):
    """The contexts of a server with a certificate of its own, and of a client that trusts this one alone."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=certificate)


async def plain(key):
    """What a handler answers where there is no Erlang."""
    await asyncio.sleep(0)
    return f"value-of-{key}"


async def asking(key):
    """What a handler answers in a context."""
    return await erlang.async_call("lookup", key)


# ------------------------------------------------------------------------------------------------------------- aiohttp


async def aiohttp_serves_itself(certificate, key, lookup=plain):
    """Requests, bodies both ways, files, a websocket, limits of time; in the clear and over TLS."""
    served, trusting = tls(certificate, key)

    async def value(request):
        return web.json_response({"value": await lookup(request.match_info["key"])})

    async def back(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        async for chunk in request.content.iter_any():
            await answer.write(chunk)
        return answer

    async def echo(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(await lookup(message.data))
        return ws

    async def file(request):
        return web.FileResponse(path)

    async def never(request):
        await asyncio.get_running_loop().create_future()

    app = web.Application(client_max_size=1 << 25)
    app.add_routes(
        [
            web.get("/value/{key}", value),
            web.post("/back", back),
            web.get("/echo", echo),
            web.get("/never", never),
            web.get("/file", file),
        ]
    )
    body = os.urandom(1 << 20) * 4
    with tempfile.NamedTemporaryFile() as out:
        out.write(body)
        out.flush()
        path = out.name
        for server_tls, client_tls in ((None, False), (served, trusting)):
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_tls)
            await site.start()
            url = f"{'https' if server_tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
            async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=client_tls, limit=0)) as session:

                async def get(key):
                    async with session.get(f"/value/{key}") as answer:
                        return (await answer.json())["value"]

                assert await asyncio.gather(*map(get, range(100))) == [f"value-of-{n}" for n in range(100)]
                async with session.post("/back", data=io.BytesIO(body)) as answer:
                    assert await answer.read() == body
                async with session.get("/file") as answer:
                    assert await answer.read() == body
                async with session.ws_connect("/echo") as ws:
                    for n in range(20):
                        await ws.send_str(str(n))
                        assert await ws.receive_str() == f"value-of-{n}"
                try:
                    async with session.get("/never", timeout=aiohttp.ClientTimeout(total=0.05)):
                        raise AssertionError("it was answered")
                except asyncio.TimeoutError:
                    pass
            await runner.cleanup()


# ---------------------------------------------------------------------------------------------------------- websockets


async def websockets_echo(certificate, key, lookup=plain):
    """Many connections at once, messages that do not fit into one read, a close from either side; in the clear and over TLS."""
    served, trusting = tls(certificate, key)

    async def serve(socket):
        async for message in socket:
            if message == "enough":
                await socket.close(1000, "as you say")
            elif isinstance(message, str):
                await socket.send(await lookup(message))
            else:
                await socket.send(message)

    for server_tls, client_tls in ((None, None), (served, trusting)):
        async with websockets.serve(serve, "127.0.0.1", 0, ssl=server_tls, max_size=None) as server:
            url = f"{'wss' if server_tls else 'ws'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            connect = functools.partial(websockets.connect, url, ssl=client_tls, proxy=None, max_size=None)

            async def talk(name):
                async with connect() as socket:
                    for n in range(10):
                        await socket.send(f"{name}.{n}")
                        assert await socket.recv() == f"value-of-{name}.{n}"

            await asyncio.gather(*map(talk, range(30)))
            async with connect() as socket:
                large = os.urandom(3 << 20)
                await socket.send(large)
                assert await socket.recv() == large
                await socket.send("enough")
                try:
                    await socket.recv()
                    raise AssertionError("it goes on")
                except websockets.ConnectionClosedOK as closed:
                    assert closed.rcvd.reason == "as you say"


# --------------------------------------------------------------------------------------------------------------- anyio


async def anyio_does_everything(certificate, key, lookup=plain):
    """Task groups, cancel scopes, TCP, TLS, UDP and Unix sockets, threads both ways, processes, files, signals."""
    values = {}

    async def ask(name):
        values[name] = await lookup(name)

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(ask, name)
    assert values == {name: f"value-of-{name}" for name in "abc"}

    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught

    await anyio_streams(certificate, key)

    assert await anyio.to_thread.run_sync(anyio.from_thread.run, lookup, "thread") == "value-of-thread"
    assert (await anyio.run_process(["sh", "-c", "cat; exit 3"], input=b"through", check=False)).returncode == 3
    async with await anyio.open_file(certificate) as file:
        assert "CERTIFICATE" in await file.read()

    if asyncio.get_running_loop()._thread_id == main_thread():
        with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            async for number in signals:
                assert number == signal.SIGUSR1
                break


async def anyio_streams(certificate, key):
    served, trusting = tls(certificate, key)

    async def echo(client):
        async with client:
            async for data in client:
                await client.send(data)

    async def exchange(stream):
        async with stream:
            await stream.send(b"there")
            assert await stream.receive() == b"there"

    with tempfile.TemporaryDirectory() as folder:
        tcp = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        port = tcp.extra(anyio.abc.SocketAttribute.local_port)
        below = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        secured = anyio.streams.tls.TLSListener(below, served, standard_compatible=False)
        tls_port = below.extra(anyio.abc.SocketAttribute.local_port)
        unix = await anyio.create_unix_listener(f"{folder}/socket")
        async with tcp, secured, unix, anyio.create_task_group() as group:
            for listener in (tcp, secured, unix):
                group.start_soon(listener.serve, echo)
            await exchange(await anyio.connect_tcp("localhost", port))
            await exchange(await anyio.connect_tcp("localhost", tls_port, ssl_context=trusting, tls_hostname="localhost", tls_standard_compatible=False))
            await exchange(await anyio.connect_unix(f"{folder}/socket"))
            group.cancel_scope.cancel()

    async with await anyio.create_udp_socket(family=socket.AF_INET, local_host="127.0.0.1") as one:
        address = one.extra(anyio.abc.SocketAttribute.local_address)
        async with await anyio.create_connected_udp_socket(*address) as two:
            await two.send(b"datagram")
            data, sender = await one.receive()
            await one.sendto(data.upper(), *sender)
            assert await two.receive() == b"DATAGRAM"


def main_thread():
    import threading

    return threading.main_thread().ident


# --------------------------------------------------------------------------------------------------------------- httpx


async def httpx_asks_many(url, certificate):
    """A client alone: the server is somebody else's."""
    async with httpx.AsyncClient(base_url=url, verify=ssl.create_default_context(cafile=certificate), trust_env=False, timeout=60) as client:
        assert (await client.get("/loop")).json() == "ErlangEventLoop"
        answers = await asyncio.gather(*(client.get(f"/double/{n}") for n in range(50)), *(client.get(f"/thread/{n}") for n in range(20)))
        assert [answer.json() for answer in answers] == [2 * n for n in [*range(50), *range(20)]]
        assert (await client.post("/length", content=b"x" * 3_000_000)).json() == 3_000_000
        assert (await client.get("/numbers/500")).text.split() == [str(n) for n in range(500)]
        assert (await client.get("/child")).json() == ["from a child\n", 0]
        assert "FileResponse" in (await client.get("/source")).text
    trusting = ssl.create_default_context(cafile=certificate) if url.startswith("https") else None
    async with websockets.connect(url.replace("http", "ws", 1) + "/echo", proxy=None, ssl=trusting) as ws:
        for n in range(20):
            await ws.send(str(n))
            assert await ws.recv() == str(n)


# ----------------------------------------------------------------------------------------------------------- who runs it


def on_a_loop_of_its_own(story, *arguments):
    """In a synchronous call, whichever thread that is in; handlers ask Erlang. The loop's type."""

    async def main():
        await globals()[story](*map(os.fspath, arguments), lookup=asking)
        return type(asyncio.get_running_loop()).__name__

    return erlang.run(main())


async def told(story, *arguments):
    await globals()[story](*arguments)
    print(type(asyncio.get_running_loop()).__name__)


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    if name.startswith("anyio"):  # which has a way of its own to a loop
        anyio.run(told, name, *rest, backend="asyncio", backend_options={"loop_factory": erlang.new_event_loop})
    else:
        erlang.run(told(name, *rest))
