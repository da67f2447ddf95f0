#!/usr/bin/python3
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from behave import behave, told  # noqa: E402

path = os.environ["REQUEST_URI"]
if path.endswith("/stream"):
    os.write(1, b"Content-Type: text/plain\r\n\r\n")
behave(path, lambda data: os.write(1, data))
os.write(1, b"Content-Type: text/plain\r\n\r\n" + told(os.environ).encode())
