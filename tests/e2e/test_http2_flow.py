"""Issue 5 §2: flow control from end to end: a client that does not read stops the application, an application that does not read stops the client."""
import pytest

pytest.importorskip("hpack")
from demo import FEATURES, needs_pools  # noqa: E402
from h2_client import DATA, END_HEADERS, END_STREAM, HEADERS, WINDOW_UPDATE, H2Client, frame  # noqa: E402
from http_client import wait_until  # noqa: E402
from instance import ONE_SITE  # noqa: E402
from test_pools_streams import GROWTH_MAX, Watch  # noqa: E402

pytestmark = [needs_pools, pytest.mark.skipif(not FEATURES["http/2"]["available"] or not FEATURES["wsgi"]["available"],
                                              reason="this build lacks HTTP/2 or wsgi")]
PIECE, PIECES = 65536, 80  # 5 MiB
BETWEEN_MAX = 3 << 20  # of windows, rings and sockets together
APP = f"""
import threading
produced = consumed = 0
go = threading.Event()

def download():
    global produced
    for _ in range({PIECES}):
        produced += {PIECE}
        yield bytes({PIECE})

def application(environ, start_response):
    global produced, consumed
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    if path.endswith("/down"):
        produced = 0
        return download()
    if path.endswith("/up"):
        go.wait(60)
        while piece := environ["wsgi.input"].read({PIECE}):
            consumed += len(piece)
    if path.endswith("/go"):
        go.set()
    return [f"{{produced}} {{consumed}}".encode()]
"""


@pytest.fixture
def server(make):
    return make(ONE_SITE + "http2.cleartext = 1\nsite.main.limits.body_bytes = 1g\nsite.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\n"
                "site.main.route.app.pool = py\npool.py.runtime = wsgi\npool.py.app = flow:application\npool.py.directory = {WWW}/py\n"
                "pool.py.concurrency = 4\n", files={"py/flow.py": APP, "a.txt": "a"})


def numbers(client, path="/app/state"):
    return [int(number) for number in client.get(path).body.split()]


def test_a_client_that_opens_no_window_stops_the_application_and_costs_no_memory(server):
    with H2Client(server.port, timeout=60) as other, H2Client(server.port, timeout=60) as slow:
        other.get("/app/state")
        slow.windows = False
        with Watch(server.role("server")) as watch:
            stream = slow.request("/app/down")
            while len(slow.replies[stream].body) < 65535:
                slow.read_frame()
            made = []

            def rests():  # the same in so many looks, each a request to the same worker
                made.append(numbers(other)[0])
                return len(made) > 20 and len(set(made[-20:])) == 1
            wait_until(rests, 60, what="the application has stopped")
            assert made[-1] <= BETWEEN_MAX, made[-1]
            assert len(slow.replies[stream].body) == 65535 and not slow.replies[stream].ended
        assert watch.growth <= GROWTH_MAX, watch.growth
        slow.windows = True
        slow.send(frame(WINDOW_UPDATE, 0, 0, b"\0\0\xff\xff") + frame(WINDOW_UPDATE, 0, stream, b"\0\0\xff\xff"))
        assert len(slow.wait(stream).body) == PIECE * PIECES
        assert numbers(other)[0] == PIECE * PIECES


def test_an_application_that_reads_nothing_stops_the_client_and_costs_no_memory(server):
    class Uploader(H2Client):
        """Sends what the windows allow."""
        of_stream = of_connection = 65535

        def __init__(self, port):
            super().__init__(port, timeout=60)
            self.ping()  # their SETTINGS have come
            self.stream, self.sent = self.take_stream(), 0
            self.send(frame(HEADERS, END_HEADERS, self.stream, self.block("/app/up", "POST")))

        def take(self, kind, flags, stream, payload):
            super().take(kind, flags, stream, payload)
            if kind == 4 and not flags & 1:  # SETTINGS: theirs for each stream
                for at in range(0, len(payload), 6):
                    if payload[at:at + 2] == b"\0\4":
                        self.of_stream = int.from_bytes(payload[at + 2:at + 6], "big")
            if kind == WINDOW_UPDATE:
                room = int.from_bytes(payload, "big")
                if stream:
                    self.of_stream += room
                else:
                    self.of_connection += room

        def push(self, total):
            while self.sent < total and (now := min(self.of_stream, self.of_connection, 16384, total - self.sent)) > 0:
                self.sent, self.of_stream, self.of_connection = self.sent + now, self.of_stream - now, self.of_connection - now
                self.send(frame(DATA, END_STREAM if self.sent == total else 0, self.stream, bytes(now)))

    total = PIECE * PIECES
    with H2Client(server.port, timeout=60) as other, Uploader(server.port) as one:
        other.get("/app/state")
        with Watch(server.role("server")) as watch:
            same = 0
            while same < 20:  # all that came before was answered, and no window was opened
                before = one.sent
                one.push(total)
                one.ping()
                assert numbers(other) == [0, 0]
                same = same + 1 if one.sent == before and min(one.of_stream, one.of_connection) == 0 else 0
                assert one.sent <= BETWEEN_MAX, one.sent
        assert watch.growth <= GROWTH_MAX, watch.growth
        numbers(other, "/app/go")
        while not one.replies[one.stream].ended:
            one.push(total)
            one.read_frame()
        assert one.replies[one.stream].status == 200 and one.sent == total
        assert numbers(other)[1] == total
