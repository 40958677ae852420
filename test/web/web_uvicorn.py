"""uvicorn on the context's loop, as a task that goes on by itself.

A server is told to end by cancelling its task: by Erlang, or when the context stops. It then closes its connections and lets the
application shut down, which uvicorn itself does for a signal alone.
"""

import asyncio
import logging
import socket

import erlang
import uvicorn


class Server(uvicorn.Server):
    """Says when it takes connections. Its signal handlers stay switched on: what they do must not disturb the worker."""

    def __init__(self, app):
        super().__init__(uvicorn.Config(app, lifespan="on", log_config=None, access_log=False))
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.socket.getsockname()[1]
        self.up = asyncio.Event()

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.up.set()

    async def run(self):
        try:
            await self.serve(sockets=[self.socket])
        except asyncio.CancelledError:
            if self.started:
                await self.end()
            raise
        finally:
            self.socket.close()

    async def end(self):
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it shows a traceback for each request that is cancelled
        for task in self.server_state.tasks:
            task.cancel()
        await self.shutdown(sockets=[self.socket])


async def start(app):
    """The port on which `app` is served from now on."""
    server = Server(app)
    task = erlang.spawn_task(server.run(), name="uvicorn")
    up = asyncio.ensure_future(server.up.wait())
    await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
    up.cancel()
    if task.done():
        task.result()
        raise RuntimeError("the server ended before it took connections")
    return server.port


async def serve(app, to):
    """The same within the call from Erlang, which lasts as long as the server; its port is sent to the process `to`."""
    server = Server(app)

    async def tell():
        await server.up.wait()
        erlang.send(to, server.port)

    telling = asyncio.ensure_future(tell())
    try:
        await server.run()
    finally:
        telling.cancel()
