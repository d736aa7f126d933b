"""The stock openai package of PyPI with an API key of ours."""

import asyncio
import os

import openai
from lib import agora, check, expect, node

NAME = f"pypi-{os.getpid()}"
QUESTION = {"model": "parrot", "messages": [{"role": "user", "content": "who owns a wreck"}]}


async def main():
    secret = agora("payment", "key", "add", NAME, "--budget", "0.01", "--yes")["secret"]
    client = openai.AsyncOpenAI(base_url=f"{node}/v1", api_key=secret, max_retries=0)
    spent = 0

    async def models():
        names = [model.id async for model in client.models.list()]
        expect("the published model", "parrot" in names, True)

    async def whole():
        nonlocal spent
        answer = await client.chat.completions.create(**QUESTION, max_tokens=20)
        expect("tokens", answer.usage.completion_tokens, 20)
        expect("answer", answer.choices[0].message.content.startswith("who owns a wreck"), True)
        spent += int(answer.agora["charge"])

    async def stream():
        nonlocal spent
        words, last = "", None
        async for chunk in await client.chat.completions.create(**QUESTION, max_tokens=40, stream=True):
            words, last = words + (chunk.choices[0].delta.content or ""), chunk
        expect("words", len(words.split()), 40)
        spent += int(last.agora["charge"])

    async def spending():
        used = next(key["used"] for key in agora("payment", "key", "list")["keys"] if key["name"] == NAME)
        expect("used", int(used), spent)

    async def over():
        secret = agora("payment", "key", "add", f"{NAME}-poor", "--budget", "0.0001", "--yes")["secret"]
        poor = openai.AsyncOpenAI(base_url=f"{node}/v1", api_key=secret, max_retries=0)
        try:
            await poor.chat.completions.create(**QUESTION, max_tokens=1000)
        except openai.APIStatusError as error:
            expect("a code of ours", "." in (error.code or ""), True)
            return f"{error.status_code} {error.code}"
        raise AssertionError("a key over its budget was served")

    await check("openai (PyPI), models", models)
    await check("openai (PyPI), a whole completion", whole)
    await check("openai (PyPI), a streamed completion", stream)
    await check("openai (PyPI), `payment key list` shows the spending", spending)
    await check("openai (PyPI), a key over its budget gets an error of the SDK with our code", over)


asyncio.run(main())
