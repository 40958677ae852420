"""A Starlette application: a websocket, task groups and limits of time around calls to Erlang."""

import asyncio
import contextlib

import anyio
import erlang
import web_uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

# asyncio.timeout is new in 3.11; the package of that name is what it was made of.
if hasattr(asyncio, "timeout"):
    limit = asyncio.timeout
else:
    from async_timeout import timeout as limit


async def lookup(request):
    return JSONResponse({"value": await erlang.async_call("lookup", request.path_params["key"])})


async def fail(request):
    return JSONResponse({"value": await erlang.async_call("fail", request.path_params["key"])})


async def failed(request, error):
    return JSONResponse({"kind": error.error_class, "reason": str(error.reason)}, status_code=500)


async def group(request):
    """All of them at once, in a task group of anyio."""
    values = {}

    async def ask(key):
        values[key] = await erlang.async_call("lookup", key)

    async with anyio.create_task_group() as tasks:
        for key in request.path_params["keys"].split(","):
            tasks.start_soon(ask, key)
    return JSONResponse(values)


async def failing_group(request):
    """One call fails: the group cancels the other, and the failure comes out."""
    seen = []

    async def wait():
        try:
            await erlang.async_call("lookup", "waits")
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            tasks.start_soon(erlang.async_call, "fail_later", "fails")
    except Exception as error:  # an ExceptionGroup; 3.9 and 3.10 have it from a package
        seen += [type(one).__name__ for one in error.exceptions]
    return JSONResponse(seen)


async def limited(request):
    """What is left when the time of asyncio is up."""
    try:
        async with limit(0.05):
            await erlang.async_call("lookup", request.path_params["key"])
    except asyncio.TimeoutError:
        return JSONResponse({"value": None}, status_code=504)
    return JSONResponse({"value": "in time"})


async def moved_on(request):
    """What is left when the time of anyio is up."""
    with anyio.move_on_after(0.05) as scope:
        await erlang.async_call("lookup", request.path_params["key"])
    return JSONResponse({"value": None}, status_code=504 if scope.cancelled_caught else 200)


async def echo(socket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(await erlang.async_call("echo", text))


def application(note):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        with open(note, "w") as out:
            out.write("up")
        yield
        with open(note, "a") as out:
            out.write(" down")

    return Starlette(
        lifespan=lifespan,
        exception_handlers={erlang.CallError: failed},
        routes=[
            Route("/lookup/{key}", lookup),
            Route("/raise/{key}", fail),
            Route("/group/{keys}", group),
            Route("/failing_group", failing_group),
            Route("/limited/{key}", limited),
            Route("/moved_on/{key}", moved_on),
            WebSocketRoute("/echo", echo),
        ],
    )


async def start(note):
    return await web_uvicorn.start(application(note))


async def serve(note, to):
    """Until the call is cancelled."""
    await web_uvicorn.serve(application(note), to)
