"""The nftables rules that lead a Pod's traffic through its Envoy.

Loaded once, by an init container, in one transaction and into a table of its own, so that running it again
replaces it and nothing else is touched. Only first packets are redirected (DESIGN D12); the kernel remembers
the rest of a connection.

IPv6 that comes in is redirected as well, to where no Envoy listens: a second address of the Pod must not be a
way around STRICT. What goes out by IPv6 is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.inject.sidecar import UNCAPTURED_PORTS, USER

OUTBOUND, INBOUND = 15001, 15006
# Where Envoy's connections to undeclared ports of its own Pod come from: xds/translate/clusters.py.
_PASSTHROUGH_SOURCE = "127.0.0.6"
_FIRST = "tcp flags & (syn | ack) == syn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What of a Pod's TCP goes through Envoy. ``None``: all of it. Addresses are IPv4 ranges."""

    inbound_ports: tuple[int, ...] | None = None
    inbound_ports_excluded: tuple[int, ...] = ()
    outbound_ranges: tuple[str, ...] | None = None
    outbound_ranges_excluded: tuple[str, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    """Captured wherever they lead."""
    outbound_ports_excluded: tuple[int, ...] = ()


def rules(capture: Capture) -> str:
    """The table, for ``nft``."""
    lines = [
        "table inet meshwright {}",
        "delete table inet meshwright",
        "table inet meshwright {",
        "  chain inbound {",
        "    type nat hook prerouting priority dstnat; policy accept;",
        *(f"    {rule}" for rule in _inbound(capture)),
        "  }",
        "  chain outbound {",
        "    type nat hook output priority -100; policy accept;",
        *(f"    {rule}" for rule in _outbound(capture)),
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _inbound(capture: Capture) -> Iterable[str]:
    uncaptured = sorted({*UNCAPTURED_PORTS, *capture.inbound_ports_excluded})
    yield f"tcp dport {_set(uncaptured)} return"
    if capture.inbound_ports is None:
        yield f"{_FIRST} redirect to :{INBOUND}"
    elif capture.inbound_ports:
        yield f"tcp dport {_set(capture.inbound_ports)} {_FIRST} redirect to :{INBOUND}"


def _outbound(capture: Capture) -> Iterable[str]:
    # Envoy that calls its own Pod as any other endpoint comes in by the same door; unless it is the end
    # of that way: the application on the loopback, or from the address that says so.
    own = f'meta skuid {USER} oifname "lo" ip daddr != 127.0.0.0/8 ip saddr != {_PASSTHROUGH_SOURCE}'
    yield f"{own} {_FIRST} redirect to :{INBOUND}"
    yield f"meta skuid {USER} return"
    yield f"meta skgid {USER} return"
    yield 'oifname "lo" return'
    yield "meta nfproto ipv6 return"
    if capture.outbound_ports:
        yield f"tcp dport {_set(capture.outbound_ports)} {_FIRST} redirect to :{OUTBOUND}"
    if capture.outbound_ports_excluded:
        yield f"tcp dport {_set(capture.outbound_ports_excluded)} return"
    if capture.outbound_ranges_excluded:
        yield f"ip daddr {_set(capture.outbound_ranges_excluded)} return"
    if capture.outbound_ranges is None:
        yield f"{_FIRST} redirect to :{OUTBOUND}"
    elif capture.outbound_ranges:
        yield f"ip daddr {_set(capture.outbound_ranges)} {_FIRST} redirect to :{OUTBOUND}"


def _set(values: Iterable[object]) -> str:
    return "{ " + ", ".join(str(value) for value in values) + " }"
