"""An aiohttp application, served by its own server on the context's loop."""

import asyncio

import erlang
from aiohttp import WSMsgType, web


async def lookup(request):
    return web.json_response({"value": await erlang.async_call("lookup", request.match_info["key"])})


async def fail(request):
    return web.json_response({"value": await erlang.async_call("fail", request.match_info["key"])})


@web.middleware
async def failures(request, handler):
    try:
        return await handler(request)
    except erlang.CallError as error:
        return web.json_response({"kind": error.error_class, "reason": str(error.reason)}, status=500)


async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(await erlang.async_call("echo", message.data))
    return socket


def application(note):
    async def life(app):
        with open(note, "w") as out:
            out.write("up")
        yield
        with open(note, "a") as out:
            out.write(" down")

    app = web.Application(middlewares=[failures])
    app.cleanup_ctx.append(life)
    app.add_routes([web.get("/lookup/{key}", lookup), web.get("/raise/{key}", fail), web.get("/echo", echo)])
    return app


async def run(application, up):
    # Without handler_cancellation aiohttp lets a handler go on when its client has left. It waits twice as long as shutdown_timeout for the
    # handlers that are under way, for ever when that is 0.
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    try:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        up.set_result(runner.addresses[0][1])
        await asyncio.get_running_loop().create_future()
    except BaseException as error:
        if not up.done():
            up.set_exception(error)
        raise
    finally:
        await runner.cleanup()


async def start(note):
    up = asyncio.get_running_loop().create_future()
    erlang.spawn_task(run(application(note), up), name="aiohttp")
    return await up
