"""A FastAPI application whose handlers, dependency and middleware ask Erlang."""

import contextlib
import threading

import anyio
import erlang
import web_uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse


def application(note):
    """`note` is a file that tells how the application's life went."""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        with open(note, "w") as out:
            out.write("up")
        yield
        # Not in a `finally`: only an orderly shutdown comes here.
        with open(note, "a") as out:
            out.write(" down")

    app = FastAPI(lifespan=lifespan)

    @app.middleware("http")
    async def tenant(request, call_next):
        answer = await call_next(request)
        answer.headers["x-tenant"] = await erlang.async_call("tenant", request.headers.get("x-key", "nobody"))
        return answer

    @app.exception_handler(erlang.CallError)
    async def failed(request, error):
        return JSONResponse({"kind": error.error_class, "reason": str(error.reason)}, status_code=500)

    async def user(x_key: str = Header("")):
        found = await erlang.async_call("user", x_key)
        if found is None:
            raise HTTPException(401, "who are you?")
        return found

    @app.get("/lookup/{key}")
    async def lookup(key: str):
        return {"value": await erlang.async_call("lookup", key)}

    @app.get("/raise/{key}")
    async def fail(key: str):
        return {"value": await erlang.async_call("fail", key)}

    @app.get("/user")
    async def who(user: str = Depends(user)):
        return {"user": user}

    @app.get("/thread/{key}")
    def in_a_thread(key: str):
        value = erlang.call("lookup", key)
        return {"value": value, "main": threading.current_thread() is threading.main_thread()}

    @app.get("/while_connected/{key}")
    async def while_connected(key: str, request: Request):
        value = None
        async with anyio.create_task_group() as group:

            async def watch():
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(watch)
            value = await erlang.async_call("lookup", key)
            group.cancel_scope.cancel()
        return {"value": value}

    return app


async def start(note):
    return await web_uvicorn.start(application(note))
