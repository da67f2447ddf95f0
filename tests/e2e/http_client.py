"""A strict HTTP/1.1 client over a raw socket: it sends exactly the bytes it is given and reads exactly one answer."""
import re
import socket
import time

TIMEOUT_S = 10
SAME = object()  # Host is what was connected to


class Closed(Exception):
    """The peer closed where an answer was due."""


class Response:
    def __init__(self, version, status, reason, fields, body):
        self.version, self.status, self.reason, self.fields, self.body = version, status, reason, fields, body

    def __getitem__(self, name):
        """The one value of a field; KeyError where it is absent, AssertionError where it is repeated."""
        values = self.all(name)
        if not values:
            raise KeyError(name)
        assert len(values) == 1, f"{name} is repeated: {values}"
        return values[0]

    def get(self, name, default=None):
        return self[name] if self.all(name) else default

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def __repr__(self):
        return f"<{self.status} {self.reason} {self.fields} {len(self.body)} bytes>"


class Connection:
    """One connection. `read_response` leaves what follows the answer in the buffer."""

    def __init__(self, address, timeout=TIMEOUT_S, source=None):
        if isinstance(address, int):
            address = (getattr(address, "host", "127.0.0.1"), address)
        self.host = "localhost" if isinstance(address, str) else f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(timeout)
        if source:
            self.sock.bind((source, 0))
        try:
            self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def fill(self):
        part = self.sock.recv(1 << 16)
        self.buffer += part
        return bool(part)

    def take_until(self, mark):
        while mark not in self.buffer:
            if not self.fill():
                raise Closed(self.buffer)
        taken, _, self.buffer = self.buffer.partition(mark)
        return taken

    def take(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise Closed(self.buffer)
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read_response(self, method="GET"):
        head = self.take_until(b"\r\n\r\n")
        assert b"\n" not in head.replace(b"\r\n", b""), f"a bare LF in {head!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"(HTTP/1\.[01]) (\d{3}) (.*)", first)
        assert match, f"not a status line: {first!r}"
        fields = []
        for line in lines:
            field = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", line)
            assert field, f"not a field line: {line!r}"
            fields.append((field[1], field[2]))
        response = Response(match[1], int(match[2]), match[3], fields, b"")
        response.body = self.read_body(response, method)
        return response

    def read_body(self, response, method):
        status = response.status
        if method == "HEAD" or status in (204, 304) or status < 200:
            return b""
        if response.get("transfer-encoding") is not None:
            assert response["transfer-encoding"] == "chunked" and response.get("content-length") is None
            body = b""
            while size := int(self.take_until(b"\r\n").partition(b";")[0], 16):
                body += self.take(size)
                assert self.take(2) == b"\r\n"
            assert self.take_until(b"\r\n") == b""
            return body
        if response.get("content-length") is not None:
            return self.take(int(response["content-length"]))
        body = b""
        while True:
            if not self.fill():
                body, self.buffer = self.buffer, b""
                return body

    def request(self, target="/", method="GET", host=SAME, fields=(), body=b"", version="HTTP/1.1"):
        if host is SAME:
            host = self.host
        lines = [f"{method} {target} {version}"] + ([f"Host: {host}"] if host is not None else []) + list(fields)
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        return self.read_response(method)

    def at_end(self, within=5):
        """True when the peer closes within the time and sends nothing more."""
        self.sock.settimeout(within)
        try:
            return not self.buffer and self.sock.recv(1) == b""
        except (ConnectionResetError, BrokenPipeError):
            return False
        except TimeoutError:
            return False
        finally:
            self.sock.settimeout(TIMEOUT_S)


def fetch(address, target="/", **options):
    """One request on a connection of its own."""
    with Connection(address) as connection:
        return connection.request(target, **options)


def wait_until(condition, seconds=5, every=0.02, what=""):
    """The condition's first true value; AssertionError when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(every)
