"""A WSGI application that other servers run (uWSGI, gunicorn), to be asked over their protocols."""
import hashlib
import json
import os
import signal

PIECE = bytes(range(256)) * 256  # 64 KiB


def application(environ, start_response):
    path = environ["PATH_INFO"].rsplit("/", 1)[-1]
    if path == "sum":  # of the body
        total, left = hashlib.sha256(), int(environ.get("CONTENT_LENGTH") or -1)
        while left != 0:
            part = environ["wsgi.input"].read(min(left, 1 << 16) if left > 0 else 1 << 16)
            if not part:
                break
            total.update(part)
            left -= len(part) if left > 0 else 0
        body = total.hexdigest().encode()
    elif path == "large":  # bytes of the query, of a length that is not said
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return (PIECE for _ in range(int(environ["QUERY_STRING"]) // len(PIECE)))
    elif path == "die":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "100000")])

        def half():
            yield b"x" * 50_000
            os.kill(os.getpid(), signal.SIGKILL)
        return half()
    else:
        body = json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("X-Pid", str(os.getpid()))])
    return [body]


if __name__ == "__main__":  # as a program that penstock starts: its socket is descriptor 0
    import socket
    import socketserver
    from wsgiref import simple_server

    class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
        daemon_threads, address_family = True, socket.AF_UNIX

        def get_request(self):
            return self.socket.accept()[0], ("unix", 0)

    server = Server(("", 0), simple_server.WSGIRequestHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=0)
    server.server_name, server.server_port = "started", 0
    server.setup_environ()
    server.set_app(application)
    server.serve_forever()
