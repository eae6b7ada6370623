"""Free addresses for a demo: the example's own, or the same a step further.

The example names loopback addresses (``127.0.80.x``) and ports. Where they are taken, by another demo
say, the copy of the example moves as a whole: the network by one, its ports by 200, those of the proxies
by 100. A demo holds its place by a name in the kernel (an abstract unix socket), which is gone when the
demo is, however it ends.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from mesh.errors import Unavailable
from reconciler.demo import workloads
from reconciler.demo.workloads import Cast, ProxyPorts

NETWORK = 80
PORT_STEP = 200
PROXY_STEP = 100
PLACES = 40

_ADDRESS = re.compile(rf"\b127\.0\.{NETWORK}\.(\d+)\b")
_PORT = re.compile(r"\b(18080|1908\d)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The example where it runs: its files and its cast, moved. Keeps the claim until closed."""

    files: Mapping[str, str]
    cast: Cast
    claim: socket.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.claim.close()


def find(example: Mapping[str, str]) -> Place:
    """The first place that nobody has claimed and at which everything can listen."""
    in_the_way: tuple[str, int] | None = None
    for step in range(PLACES):
        claim = _claim(step)
        if claim is None:
            continue
        files = {name: move(text, step) for name, text in example.items()}
        cast = workloads.read(files, ProxyPorts().shifted(step * PROXY_STEP))
        busy = next((listener for listener in cast.sockets if not is_free(*listener)), None)
        if busy is None:
            return Place(files=files, cast=cast, claim=claim)
        in_the_way = in_the_way or busy
        claim.close()
    raise Unavailable(f"none of {PLACES} places on the loopback network is free", hint=_hint(in_the_way))


def _hint(in_the_way: tuple[str, int] | None) -> str:
    """One free place is enough: the first one's trouble is named."""
    if in_the_way is None:
        return "end another demo: each has a place of its own"
    host, port = in_the_way
    return f"end what listens at {host}:{port}, or on that port of all addresses: ss -ltnp 'sport = :{port}'"


def move(text: str, step: int) -> str:
    """The text of a file of the example, with its addresses and ports moved."""
    moved = _ADDRESS.sub(lambda found: f"127.0.{NETWORK + step}.{found[1]}", text)
    return _PORT.sub(lambda found: str(int(found[1]) + step * PORT_STEP), moved)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do: what is left of closed connections does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _claim(step: int) -> socket.socket | None:
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0meshwright-demo-{step}")
    except OSError:
        claim.close()
        return None
    return claim
