"""Clients, for a context of their own."""

import asyncio

import httpx
import websockets


async def get(port, paths):
    """Status and JSON of each path, asked for at the same time."""
    limits = httpx.Limits(max_connections=None)
    # trust_env: a proxy of this machine has nothing to do with 127.0.0.1
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60, trust_env=False) as client:
        answers = await asyncio.gather(*(client.get(path) for path in paths))
        return [[answer.status_code, answer.json()] for answer in answers]


async def echo(port, texts):
    """What comes back for each text, on one websocket."""
    async with websockets.connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as socket:
        answers = []
        for text in texts:
            await socket.send(text)
            answers.append(await socket.recv())
        return answers


async def echo_on_many(port, count, texts):
    return await asyncio.gather(*(echo(port, [f"{n} {text}" for text in texts]) for n in range(count)))
