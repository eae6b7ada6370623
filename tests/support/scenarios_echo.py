"""An application that speaks no HTTP: it answers every line with its own name and that line."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator

from tests.support.envoys import Application


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that break off are what some scenarios are about."""


@contextlib.contextmanager
def echo(name: str, address: tuple[str, int]) -> Iterator[Application]:
    """Such an application, until the block ends."""
    made = Application(name)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                made.asked.append({"application": name, "line": line.decode()})
                self.wfile.write(f"{name}: ".encode() + line)

    server = _Server(address, Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
