"""The programs of the hybrid demo: each says who it is, and whom its proxy says that it was asked by.

Run as ``python -m reconciler.demo.hybrid.greeter cart-1 --listen 127.0.0.1:19087``.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from http.server import BaseHTTPRequestHandler

from reconciler.demo.services import Server, address

CALLER = "x-forwarded-client-cert"


class Greeter(BaseHTTPRequestHandler):
    """Answers every GET in the same way."""

    protocol_version = "HTTP/1.1"
    # Head and body leave in two writes; without this the second waits for an acknowledgement.
    disable_nagle_algorithm = True
    name = ""

    def do_GET(self) -> None:
        body = json.dumps({"instance": self.name, "caller": self.headers.get(CALLER, "")}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the standard library's name)
        """Requests are logged by nobody."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="reconciler.demo.hybrid.greeter")
    parser.add_argument("name")
    parser.add_argument("--listen", type=address, required=True)
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Server(chosen.listen, type("Instance", (Greeter,), {"name": chosen.name})) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
