"""ASGI applications for asgi_test.cc."""
import asyncio
import sys
import time


async def say(send, body, status=200, headers=((b"content-type", b"text/plain"),)):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def whole(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


waiting = []


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["answer"] = 42
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        print("shut down", file=sys.stderr, flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"][len(scope["root_path"]):]
    if path == "/scope":
        shown = {key: scope[key] for key in ("http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "client", "server", "state")}
        shown["headers"] = sorted(scope["headers"])
        await say(send, repr(shown).encode())
    elif path == "/echo":
        await say(send, await whole(receive))
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200})
        for _ in range(64):
            await send({"type": "http.response.body", "body": b"s" * 50_000, "more_body": True})
        await send({"type": "http.response.body"})
    elif path == "/together":  # answered when four are inside
        waiting.append(asyncio.Event())
        if len(waiting) == 4:
            for event in waiting:
                event.set()
        await waiting[-1].wait() if len(waiting) < 4 else None
        await say(send, b"all here")
    elif path == "/endless":
        try:
            await send({"type": "http.response.start", "status": 200})
            while True:
                await send({"type": "http.response.body", "body": b"e" * 50_000, "more_body": True})
        finally:
            print("left alone", file=sys.stderr, flush=True)
    elif path == "/disconnect":
        await whole(receive)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        message = await receive()
        print(message["type"], file=sys.stderr, flush=True)
    elif path == "/raises":
        raise ValueError("on purpose")
    elif path == "/half":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("in the middle")
    elif path == "/blocks":
        print("begun", file=sys.stderr, flush=True)
        time.sleep(3600)
    elif path == "/nothing":
        return
    elif path == "/status":
        await say(send, b"", 204, ())
    else:
        await say(send, b"hello\n", 200, ((b"content-type", b"text/plain"), (b"x-two", b"1"), (b"x-two", b"2")))


async def without_lifespan(scope, receive, send):
    assert scope["type"] == "http"
    await say(send, b"all the same")


class AnObject:
    async def __call__(self, scope, receive, send):
        await application(scope, receive, send)


an_object = AnObject()


async def failing(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
