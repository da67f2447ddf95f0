"""An ASGI application as a WSGI one, for penstock-wsgi, from which the requests come.

One event loop, on a thread of its own, runs the application: its lifespan, and a task for each request. The threads of
the runtime wait for what their task sends, so --threads bounds how many requests are inside. What a request's body has
is read by a helper thread when the application asks for it; what the application sends is kept up to SENT_MAX bytes
ahead of the client, then send() waits.
"""
import asyncio
import atexit
import concurrent.futures
import http
import os
import sys
import threading

SENT_MAX = 128 * 1024
READ_MAX = 64 * 1024
LOOK_S = 0.03  # how long a thread waits until it looks whether it is cancelled; less than one is thought to hang
LOOP_S = 1  # without an answer for so long the loop is thought to hang
SHUTDOWN_S = 10
HANGING_EXIT = 70  # no failure of the application: it is replaced
PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-authenticate", b"te", b"trailer", b"transfer-encoding", b"upgrade"}


def scope_of(environ, state):
    decoded = (environ["SCRIPT_NAME"] + environ["PATH_INFO"]).encode("latin-1")
    headers = []
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            headers.append((key[5:].lower().replace("_", "-").encode("latin-1"), value.encode("latin-1")))
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            headers.append((key.lower().replace("_", "-").encode("latin-1"), value.encode("latin-1")))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": environ["SERVER_PROTOCOL"].partition("/")[2],
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": decoded.decode("utf-8", "replace"),
        "raw_path": environ["REQUEST_URI"].partition("?")[0].encode("latin-1"),
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "root_path": environ["SCRIPT_NAME"],
        "headers": headers,
        "client": (environ["REMOTE_ADDR"], int(environ["REMOTE_PORT"])) if "REMOTE_PORT" in environ else None,
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
        "state": dict(state),
        "extensions": {},
    }


class Exchange:
    """One request. What is named with `loop` runs on the loop's thread, the rest on the runtime's."""

    def __init__(self, adapter, environ):
        self.adapter, self.environ = adapter, environ
        self.changed = threading.Condition()
        self.status, self.headers = None, []
        self.pieces, self.kept, self.whole, self.error, self.over = [], 0, False, None, False
        self.body_read = False
        self.room = asyncio.Event()
        self.gone = asyncio.Event()
        self.task = None

    # --- on the loop's thread

    async def loop_run(self):
        try:
            await self.adapter.app(scope_of(self.environ, self.adapter.state), self.loop_receive, self.loop_send)
            error = None if self.whole else RuntimeError("the ASGI application returned before its response was complete")
        except asyncio.CancelledError:
            error = RuntimeError("the request was cancelled")
        except BaseException as raised:  # of the application; the runtime writes it down
            error = raised
        with self.changed:
            self.error = self.error or error
            self.over = True
            self.changed.notify_all()

    async def loop_receive(self):
        if not self.body_read:
            piece = await self.adapter.loop.run_in_executor(self.adapter.readers, self.environ["wsgi.input"].read, READ_MAX)
            self.body_read = len(piece) < READ_MAX
            return {"type": "http.request", "body": piece, "more_body": not self.body_read}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def loop_send(self, message):
        kind = message["type"]
        if self.gone.is_set():
            raise OSError("the client has gone")
        if kind == "http.response.start":
            if self.status is not None:
                raise RuntimeError("http.response.start was sent twice")
            status = int(message["status"])
            self.headers = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
                            for name, value in message.get("headers", ()) if bytes(name).lower() not in HOP_BY_HOP]
            self.status = f"{status} {PHRASES.get(status, 'Unknown')}"
            return
        if kind != "http.response.body":
            raise RuntimeError(f"an http response cannot send {kind}")
        if self.status is None or self.whole:
            raise RuntimeError("http.response.body was sent " + ("after the last one" if self.whole else "before http.response.start"))
        body = bytes(message.get("body", b""))
        with self.changed:
            self.pieces.append(body)
            self.kept += len(body)
            self.whole = not message.get("more_body", False)
            full = self.kept >= SENT_MAX and not self.whole
            if full:
                self.room.clear()
            self.changed.notify_all()
        if self.whole:
            self.gone.set()
        elif full:
            await self.room.wait()
            if self.gone.is_set():
                raise OSError("the client has gone")

    def loop_leave(self):
        self.gone.set()
        self.room.set()

    # --- on the runtime's thread

    def next_pieces(self):
        """What was sent since, and whether that is all. Raises what the application raised."""
        try:
            return self.wait_pieces()
        except BaseException as raised:
            if type(raised).__name__ == "Cancelled":  # the request took too long; why, if not for itself?
                self.adapter.look_at_loop()
            raise

    def wait_pieces(self):
        with self.changed:
            while not self.pieces and not self.whole and not self.over:
                self.changed.wait(LOOK_S)  # an exception of the runtime's comes in between
            pieces, self.pieces, self.kept = self.pieces, [], 0
            if not pieces and not self.whole:
                raise self.error
            whole = self.whole
        if not whole:
            self.adapter.loop.call_soon_threadsafe(self.room.set)
        return pieces, whole

    def __iter__(self):
        while True:
            pieces, whole = self.next_pieces()
            yield from (piece for piece in pieces if piece)
            if whole:
                return

    def close(self):
        self.adapter.loop.call_soon_threadsafe(self.loop_leave)
        with self.changed:
            if not self.over and not self.whole:
                self.task.cancel()


class Adapter:
    def __init__(self, app):
        self.app, self.state = app, {}
        self.loop = asyncio.new_event_loop()
        self.readers = concurrent.futures.ThreadPoolExecutor(64, "asgi-body")
        threading.Thread(target=self.loop.run_forever, name="asgi", daemon=True).start()
        asyncio.run_coroutine_threadsafe(self.begin(), self.loop).result()
        atexit.register(self.end)

    async def begin(self):
        """An application that does not know of lifespans raises, and is served all the same."""
        self.asked, self.started, self.stopped = asyncio.Queue(), self.loop.create_future(), asyncio.Event()
        self.lifespan = self.loop.create_task(self.live())
        await self.asked.put({"type": "lifespan.startup"})
        failure = await self.started
        if failure is not None:
            raise RuntimeError(f"the ASGI application failed to start: {failure}")

    async def live(self):
        def started(failure=None):
            if not self.started.done():
                self.started.set_result(failure)

        async def send(message):
            if message["type"] == "lifespan.startup.complete":
                started()
            elif message["type"] == "lifespan.startup.failed":
                started(message.get("message", "") or "it did not say why")
            elif message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                self.stopped.set()

        try:
            scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
            await self.app(scope, self.asked.get, send)
        except Exception:  # it has none
            pass
        finally:
            started()
            self.stopped.set()

    def look_at_loop(self):
        """A loop that one coroutine keeps for itself serves nobody ever again: then the process ends."""
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        if not turned.wait(LOOP_S):
            sys.stderr.write("penstock-wsgi: the event loop hangs in what it was given; this worker ends\n")
            os._exit(HANGING_EXIT)

    async def shut_down(self):
        await self.asked.put({"type": "lifespan.shutdown"})
        await asyncio.wait_for(self.stopped.wait(), SHUTDOWN_S)

    def end(self):
        try:
            asyncio.run_coroutine_threadsafe(self.shut_down(), self.loop).result(SHUTDOWN_S + 1)
        except Exception:  # it takes too long: it was asked
            pass
        self.readers.shutdown(wait=False, cancel_futures=True)

    def __call__(self, environ, start_response):
        exchange = Exchange(self, environ)
        exchange.task = asyncio.run_coroutine_threadsafe(exchange.loop_run(), self.loop)
        try:
            pieces, whole = exchange.next_pieces()
        except BaseException:
            exchange.close()
            raise
        start_response(exchange.status, exchange.headers)
        if whole:
            exchange.close()
            return [b"".join(pieces)]
        return Following(pieces, exchange)


class Following:
    def __init__(self, pieces, exchange):
        self.pieces, self.exchange = pieces, exchange

    def __iter__(self):
        yield from (piece for piece in self.pieces if piece)
        yield from self.exchange

    def close(self):
        self.exchange.close()
