import os

from behave import behave, told


def application(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    behave(environ["PATH_INFO"], write)
    return [told({**os.environ, **{k: v for k, v in environ.items() if isinstance(v, str)}}).encode()]
