import asyncio
import itertools
import re

import erlang


def words(text):
    for match in re.finditer(r"\w+", text.lower()):
        yield match.group()


def score(text):
    weights = [erlang.weight(word) for word in words(text)]
    return {"words": len(weights), "score": sum(weights)}


async def score_slowly(text):
    weights = await asyncio.gather(*(erlang.async_call("weight", word) for word in words(text)))
    await asyncio.sleep(0.05)
    return {"words": len(weights), "score": sum(weights)}


def naturals():
    return itertools.count()
