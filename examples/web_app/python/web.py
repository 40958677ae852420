"""The web side of a stock room whose books Erlang keeps."""

import asyncio
import socket
from typing import Any, Dict

import erlang
import uvicorn
from fastapi import FastAPI, HTTPException

app = FastAPI(title="Stock")


@app.get("/stock/{article}")
async def stock(article: str) -> Dict[str, Any]:
    left = await erlang.async_call("stock", article)
    if left is None:
        raise HTTPException(404, f"there is no {article}")
    return {"article": article, "left": left}


@app.post("/orders/{article}/{amount}")
async def order(article: str, amount: int) -> Dict[str, Any]:
    accepted, left = await erlang.async_call("order", article, amount)
    if not accepted:
        raise HTTPException(409, f"only {left} left")
    return {"article": article, "ordered": amount, "left": left}


@app.get("/report")
def report() -> Dict[str, Any]:
    """A plain function: FastAPI runs it in a thread, where the blocking form is the right one."""
    return {"articles": dict(erlang.call("articles"))}


@app.post("/crash")
async def crash() -> None:
    """For the demonstration only."""
    import ctypes

    ctypes.string_at(0)


async def serve(port: int, starter: erlang.Pid) -> None:
    """Serves as long as the call lasts; tells `starter` the port once connections are taken. Cancelled when the starter dies."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))

    async def tell() -> None:
        while not server.started:
            await asyncio.sleep(0.005)
        erlang.send(starter, (erlang.atom("serving"), listener.getsockname()[1]))

    told = asyncio.ensure_future(tell())
    try:
        # Not serve(): signals belong to the worker.
        await server._serve([listener])
    finally:
        told.cancel()
        listener.close()
