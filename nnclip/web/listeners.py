"""The end of a listening socket, at which no client is cut off."""

import contextlib
import ctypes
import socket
import struct

ATTACH_FILTER = 26  # Linux's SO_ATTACH_FILTER, which Python's socket does not name
DROP = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF: return 0 bytes of every packet


def take_no_more(listener: socket.socket) -> None:
    """Let no new connection through; those that wait to be accepted stay, so accept them next.

    Closing a socket resets those that the kernel has taken by then. Who knocks later gets no answer
    until the socket is closed, and is refused then. Where there are no such filters (Linux has
    them), nothing is done.
    """
    program = ctypes.create_string_buffer(DROP)
    counted = struct.pack("HP", 1, ctypes.addressof(program))
    with contextlib.suppress(OSError, ValueError):
        listener.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, counted)
