"""Free addresses for a demo: the example's own, or the same a step further.

An example names loopback addresses (``127.0.80.x``) and ports. Where they are taken, by another demo
say, the copy of the example moves as a whole: the network by one, its ports by 200, those of the proxies
by 100. A demo holds its place by a name in the kernel (an abstract unix socket), which is gone when the
demo is, however it ends.
"""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from mesh.errors import Misconfigured, Unavailable
from reconciler.demo.workloads import LOOPBACK, ProxyPorts

NETWORK = 80
PORT_STEP = 200
PROXY_STEP = 100
PLACES = 40

# Linux, netdevice(7): the address is four bytes, sixteen bytes of name and four of the family further on.
_SIOCGIFADDR = 0x8915

_ADDRESS = re.compile(rf"\b127\.0\.{NETWORK}\.(\d+)\b")
_PORT = re.compile(r"\b(18080|1908\d)\b")


class Listening(Protocol):
    """Who runs in a demo, as far as a place for them is looked for."""

    @property
    def sockets(self) -> tuple[tuple[str, int], ...]:
        """Everything that must be free for the demo to run."""


C = TypeVar("C", bound=Listening)
Read = Callable[[Mapping[str, str], ProxyPorts], C]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Generic[C]):
    """The example where it runs: its files and its cast, moved. Keeps the claim until closed."""

    files: Mapping[str, str]
    cast: C
    claim: socket.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.claim.close()


def find(example: Mapping[str, str], read: Read[C]) -> Place[C]:
    """The first place that nobody has claimed and at which everything that ``read`` finds can listen."""
    in_the_way: tuple[str, int] | None = None
    for step in range(PLACES):
        claim = _claim(step)
        if claim is None:
            continue
        files = {name: move(text, step) for name, text in example.items()}
        cast = read(files, ProxyPorts().shifted(step * PROXY_STEP))
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


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now, for what no example names."""
    with ExitStack() as probes:
        taken = [probes.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in taken]


def outward_address() -> str:
    """An IPv4 address of this machine by which others could call it.

    :raises Misconfigured: when it has none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, interface in socket.if_nameindex():
            request = struct.pack("256s", interface.encode())
            try:
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, request)
            except OSError:
                continue  # it has no such address
            found = ipaddress.IPv4Address(answer[20:24])
            if not (found.is_loopback or found.is_link_local):
                return str(found)
    raise Misconfigured(
        "this machine has no IPv4 address but those of the loopback network",
        hint="bring an interface up: Kubernetes takes no loopback address for an endpoint",
    )


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
