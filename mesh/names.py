"""Hostnames, namespaces and object keys: how they are written, matched and shortened.

The rules are Istio's (``pkg/config/host``): a wildcard is the leftmost label only,
``*.foo.com`` does not match ``foo.com``, and a name without a dot belongs to the namespace of
the *object that wrote it*, never to that of the caller.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Self

DEFAULT_NAMESPACE = "default"
ROOT_NAMESPACE = "istio-system"
DEFAULT_DOMAIN = "cluster.local"
MESH_GATEWAY = "mesh"


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """What one configuration object is called. No file and no line: those belong to a revision."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of ``str``: ``kind/namespace/name``."""
        kind, namespace, name = text.split("/", 2)
        return cls(kind, namespace, name)

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


def is_loopback(text: str) -> bool:
    """Whether it is an address that only its own host means."""
    return is_ip(text) and ipaddress.ip_address(text).is_loopback


def is_ip(text: str) -> bool:
    """Whether the text is one IP address (not a CIDR)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_wildcard(host: str) -> bool:
    return host.startswith("*")


def resolve(host: str, namespace: str, domain: str = DEFAULT_DOMAIN) -> str:
    """The full name of ``host`` as written in an object of ``namespace``.

    Istio, ``model.ResolveShortnameToFQDN``: names with a dot, ``*`` and addresses stay.
    """
    if not host or "." in host or host == "*" or ":" in host:
        return host
    return f"{host}.{namespace}.svc.{domain}"


def host_matches(pattern: str, host: str) -> bool:
    """Whether the two overlap; either may carry a wildcard. Istio, ``host.Name.Matches``."""
    if is_wildcard(pattern):
        if is_wildcard(host):
            a, b = pattern[1:], host[1:]
            return a.endswith(b) if len(a) >= len(b) else b.endswith(a)
        return len(host) > len(pattern) - 1 and host.endswith(pattern[1:]) if pattern != "*" else True
    if is_wildcard(host):
        return host_matches(host, pattern)
    return pattern == host


def host_covers(pattern: str, host: str) -> bool:
    """Whether every name that ``host`` means is also meant by ``pattern``. Istio, ``SubsetOf``."""
    if not is_wildcard(pattern):
        return pattern == host
    if is_wildcard(host):
        return len(host) >= len(pattern) and host[1:].endswith(pattern[1:])
    return host_matches(pattern, host)


def specificity(host: str) -> tuple[int, int, str]:
    """Sort key, most specific first: exact names, then the longest wildcard, then by name.

    Istio, ``host.MoreSpecific``.
    """
    return (1 if is_wildcard(host) else 0, -len(host), host)


def short_forms(host: str, namespace: str, domain: str = DEFAULT_DOMAIN) -> tuple[str, ...]:
    """The shorter spellings of a cluster-local name that a client in ``namespace`` may use.

    Istio, ``route.GenerateAltVirtualHosts``: ``reviews.bookinfo.svc.cluster.local`` is also
    ``reviews`` (same namespace only), ``reviews.bookinfo`` and ``reviews.bookinfo.svc``.
    """
    suffix = f".svc.{domain}"
    if not host.endswith(suffix) or is_wildcard(host):
        return ()
    name, dot, owner = host.removesuffix(suffix).rpartition(".")
    if not dot or "." in name:
        return ()
    forms = (f"{name}.{owner}", f"{name}.{owner}.svc")
    return (name, *forms) if owner == namespace else forms
