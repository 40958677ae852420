"""A FastAPI application that knows nothing of Erlang, for uvicorn on the command line: `python -m uvicorn apps_uvicorn:app`.

The environment variable NOTE names a file that tells how the application's life went.
"""

import asyncio
import contextlib
import os

import anyio
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import FileResponse, StreamingResponse


@contextlib.asynccontextmanager
async def lifespan(app):
    with open(os.environ["NOTE"], "w") as out:
        out.write("up")
    yield
    with open(os.environ["NOTE"], "a") as out:
        out.write(" down")


app = FastAPI(lifespan=lifespan)


@app.get("/loop")
async def loop():
    return type(asyncio.get_running_loop()).__name__


@app.get("/double/{number}")
async def double(number: int):
    await asyncio.sleep(0.001)  # sleep-ok: a timer of the loop is what the handler is about
    return 2 * number


@app.get("/thread/{number}")
def in_a_thread(number: int):
    return anyio.from_thread.run(double, number)


@app.post("/length")
async def length(request: Request):
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
    return total


@app.get("/numbers/{count}")
async def numbers(count: int):
    async def lines():
        for number in range(count):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines())


@app.get("/child")
async def child():
    process = await asyncio.create_subprocess_exec("echo", "from a child", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return [out.decode(), process.returncode]


@app.get("/source")
async def source():
    return FileResponse(__file__)


@app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)
