"""Servers that speak no HTTP: one that answers, one that speaks first."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

BANNER = b"220 at your service\r\n"


def an_echo() -> contextlib.AbstractContextManager[int]:
    """The port of a server that says again what it is told, until it is told nothing more."""

    def answer(connection: socket.socket) -> None:
        while said := connection.recv(64):
            connection.sendall(said)

    return _a_server(answer)


def a_greeter() -> contextlib.AbstractContextManager[int]:
    """The port of a server that greets whoever connects."""
    return _a_server(lambda connection: connection.sendall(BANNER))


@contextlib.contextmanager
def _a_server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """One connection at a time, each for five seconds at most."""
    server = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                connection.settimeout(5)
                with connection, contextlib.suppress(OSError):
                    serve(connection)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(timeout=10)
