"""A server on descriptor 0, of one process, that speaks the protocol in its argument: http, scgi or uwsgi."""
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from behave import behave  # noqa: E402


def until(connection, end):
    data = b""
    while not data.endswith(end):
        piece = connection.recv(1)
        if not piece:
            raise EOFError
        data += piece
    return data


def http(connection):
    return until(connection, b"\r\n\r\n").split(b" ")[1].decode()


def scgi(connection):
    fields = connection.recv(int(until(connection, b":")[:-1]) + 1, socket.MSG_WAITALL)[:-2].split(b"\0")
    return dict(zip(fields[::2], fields[1::2]))[b"REQUEST_URI"].decode()


def uwsgi(connection):
    size = struct.unpack("<BHB", connection.recv(4, socket.MSG_WAITALL))[1]
    data, texts = connection.recv(size, socket.MSG_WAITALL), []
    while data:
        length = struct.unpack_from("<H", data)[0]
        texts.append(data[2:2 + length])
        data = data[2 + length:]
    return dict(zip(texts[::2], texts[1::2]))[b"REQUEST_URI"].decode()


read_target = {"http": http, "scgi": scgi, "uwsgi": uwsgi}[sys.argv[1]]
listener = socket.socket(fileno=0)
while True:
    peer = listener.accept()[0]
    try:
        behave(read_target(peer), peer.sendall)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfine\n")
    except (EOFError, ConnectionError):
        pass
    peer.close()
