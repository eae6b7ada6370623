"""Where traffic goes: host, port, subset; shared."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.kinds.kind import Kind, Text, Unsigned
from mesh.kinds.rules import dns_label, port, wildcard_domain, wrong
from mesh.names import is_ip
from mesh.places import Place
from mesh.problems import Problem


class PortSelector(Kind):
    """A port by its number. Istio, "PortSelector"."""

    number: Unsigned = 0


class Destination(Kind):
    """Where traffic goes. Istio, "Destination"."""

    host: Text
    subset: Text = ""
    port: PortSelector | None = None


def check_destination(destination: Destination, where: Place, at: str) -> Iterator[Problem]:
    if destination.host == "*":
        yield from wrong(where, f"{at}.host", "a destination cannot be the wildcard '*'")
    elif not is_ip(destination.host):
        yield from wrong(where, f"{at}.host", wildcard_domain(destination.host))
    if destination.subset:
        yield from wrong(where, f"{at}.subset", dns_label(destination.subset))
    if destination.port is not None:
        yield from wrong(where, f"{at}.port.number", port(destination.port.number))
