"""A FastCGI responder on descriptor 0, of one process, that takes one connection after the other."""
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from behave import behave, told  # noqa: E402

BEGIN, END, PARAMS, STDIN, STDOUT, GET_VALUES, GET_VALUES_RESULT = 1, 3, 4, 5, 6, 9, 10


def exactly(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def send(connection, kind, number, data):
    connection.sendall(struct.pack("!BBHHBB", 1, kind, number, len(data), 0, 0) + data)


def pairs(data):
    at, found = 0, {}
    while at < len(data):
        sizes = []
        for _ in range(2):
            size, step = data[at], 1
            if size > 127:
                size, step = struct.unpack_from("!I", data, at)[0] & 0x7FFFFFFF, 4
            sizes.append(size)
            at += step
        found[data[at:at + sizes[0]].decode()] = data[at + sizes[0]:at + sum(sizes)].decode("latin-1")
        at += sum(sizes)
    return found


def serve(connection):
    params = b""
    while True:
        _, kind, number, size, padding, _ = struct.unpack("!BBHHBB", exactly(connection, 8))
        data = exactly(connection, size + padding)[:size]
        if kind == GET_VALUES:
            send(connection, GET_VALUES_RESULT, 0, b"")
        if kind == BEGIN:
            params = b""
        if kind == PARAMS:
            params += data
        if kind != STDIN or data:
            continue
        variables = pairs(params)
        head = b"Content-Type: text/plain\r\n\r\n"
        if variables["REQUEST_URI"].endswith("/stream"):
            send(connection, STDOUT, number, head)
        behave(variables["REQUEST_URI"], lambda piece: send(connection, STDOUT, number, piece))
        send(connection, STDOUT, number, head + told(variables).encode())
        send(connection, END, number, struct.pack("!IBxxx", 0, 0))


listener = socket.socket(fileno=0)
while True:
    peer = listener.accept()[0]
    try:
        serve(peer)
    except (EOFError, ConnectionError):
        pass
    peer.close()
