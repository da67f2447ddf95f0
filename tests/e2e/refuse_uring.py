#!/usr/bin/env python3
"""Runs a command with io_uring refused as containers refuse it: refuse_uring.py ENOSYS|EPERM|… COMMAND…"""
import ctypes
import errno
import os
import sys

ALLOW = 0x7FFF0000
IO_URING = (425, 426, 427)  # setup, enter, register: one number on every architecture


def main():
    error = getattr(errno, sys.argv[1])
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))
    for call in IO_URING:
        if library.seccomp_rule_add(context, ctypes.c_uint32(0x00050000 | error), ctypes.c_int(call), ctypes.c_uint(0)) != 0:
            sys.exit("refuse_uring: the rule was refused")
    if library.seccomp_load(context) != 0:
        sys.exit("refuse_uring: the filter was refused")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
