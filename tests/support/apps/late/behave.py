"""What the last segment of a path asks for, for applications that tests let run too long."""
import os
import re
import signal
import time


def behave(path, write):
    """Returns where the path asks for nothing; `write` sends bytes of the answer."""
    how = path.rpartition("/")[2]
    if how == "loop":
        while True:
            pass
    if how == "sleep":
        time.sleep(3600)
    if how == "block":  # in the kernel, for what never comes
        os.read(os.pipe()[0], 1)
    if how == "lock":  # computes in C, with Python's lock
        re.match(r"(a+)+$", "a" * 64 + "b")
    if how == "deaf":
        try:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        except ValueError:
            pass  # not in this thread: nobody asks it
        while True:
            try:
                time.sleep(3600)
            except BaseException:
                pass
    if how == "stream":
        while True:
            write(b"x" * 1000)
            time.sleep(0.01)


def told(variables):
    """The variables that tests ask for: with the query "all" those that come of the request, a line each; over TLS those that tell of it."""
    if variables.get("QUERY_STRING") == "all":
        kinds = ("HTTP", "CONTENT_", "REQUEST_METHOD", "SERVER_NAME", "PATH_INFO", "SCRIPT_NAME", "QUERY_STRING", "AUTH")
        return "\n".join(f"{name}={variables[name]}" for name in sorted(variables) if name.startswith(kinds) and isinstance(variables[name], str))
    names = ("POOL_SAYS", "IDENTITY_SAYS", "BOTH_SAY", "HTTP_AUTHORIZATION")
    if variables.get("HTTPS") == "on":
        scheme = variables.get("wsgi.url_scheme", variables.get("REQUEST_SCHEME"))
        variables = {**variables, "SCHEME": scheme}
        names = ("SCHEME", "SERVER_PORT", "SSL_CLIENT_VERIFY", "SSL_CLIENT_S_DN", "SSL_CLIENT_FINGERPRINT")
    return " ".join(f"{name}={variables.get(name, '-')}" for name in names)
