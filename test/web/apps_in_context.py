"""uvicorn on a loop of its own within a context: in a thread, or as a synchronous call on the main thread. Handlers ask Erlang."""

import asyncio

import erlang
import uvicorn
from fastapi import FastAPI

app = FastAPI()
servers = []


@app.get("/lookup/{key}")
async def lookup(key: str):
    return {"value": await erlang.async_call("lookup", key)}


@app.get("/loop")
async def loop():
    return type(asyncio.get_running_loop()).__name__


class Server(uvicorn.Server):
    """Sends the process `to` its port when it takes connections."""

    def __init__(self, to):
        super().__init__(uvicorn.Config(app, host="127.0.0.1", port=0, loop="erlang:new_event_loop", log_config=None))
        self.to = to

    async def startup(self, sockets=None):
        await super().startup(sockets)
        erlang.send(self.to, self.servers[0].sockets[0].getsockname()[1])


def serve(to):
    """Until `stop` is called, or the call is."""
    servers.append(Server(to))
    try:
        servers[-1].run()
    finally:
        servers.pop()
    return "ended"


def stop():
    for server in servers:
        server.should_exit = True
