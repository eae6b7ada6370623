"""Istio's annotations of a Pod: those that are carried out, and what becomes of the others.

What is not carried out is said, never passed over in silence. A label ``sidecar.istio.io/inject`` comes
before the annotation of that name, as in Istio (``pkg/kube/inject``).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from mesh.proxies import Interception
from reconciler.inject.capture import Capture

INJECT = "sidecar.istio.io/inject"
_TRAFFIC = "traffic.sidecar.istio.io/"
_SIDECAR = "sidecar.istio.io/"
_SIZES = {
    "cpu": f"{_SIDECAR}proxyCPU",
    "memory": f"{_SIDECAR}proxyMemory",
    "cpu limit": f"{_SIDECAR}proxyCPULimit",
    "memory limit": f"{_SIDECAR}proxyMemoryLimit",
}
_READ = {
    INJECT,
    f"{_SIDECAR}interceptionMode",
    f"{_SIDECAR}nativeSidecar",
    f"{_SIDECAR}rewriteAppHTTPProbers",
    *_SIZES.values(),
    *(
        f"{_TRAFFIC}{name}"
        for name in (
            "includeInboundPorts",
            "excludeInboundPorts",
            "includeOutboundIPRanges",
            "excludeOutboundIPRanges",
            "includeOutboundPorts",
            "excludeOutboundPorts",
        )
    ),
}
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[KMGTP]i?|k)?")
_BOOLEANS = {"true": True, "false": False}

T = TypeVar("T")


class Unusable(ValueError):
    """An annotation whose value cannot be carried out; leaves :class:`Wishes` as a flaw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a Pod asks for of its sidecar."""

    capture: Capture
    sizes: Mapping[str, str]
    interception: Interception = Interception.REDIRECT
    is_native: bool | None = None
    are_probes_kept: bool = False
    """As they are written: its probes are not led through Envoy."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """An annotation that cannot be carried out (``hint``), or has no effect."""

    annotation: str
    message: str
    hint: str = ""

    @property
    def is_error(self) -> bool:
        return bool(self.hint)


def is_out(labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool:
    """Whether the Pod shall have no sidecar."""
    said = labels.get(INJECT, annotations.get(INJECT, "true"))
    return _BOOLEANS.get(str(said).lower(), True) is False


def read(annotations: Mapping[str, str]) -> tuple[Wishes, tuple[Flaw, ...]]:
    """What the annotations ask for, and what of it cannot be had."""
    reading = _Reading(annotations)
    capture = Capture(
        inbound_ports=reading.get(f"{_TRAFFIC}includeInboundPorts", _ports_or_all, None),
        inbound_ports_excluded=reading.get(f"{_TRAFFIC}excludeInboundPorts", _ports, ()),
        outbound_ranges=reading.get(f"{_TRAFFIC}includeOutboundIPRanges", _ranges_or_all, None),
        outbound_ranges_excluded=reading.get(f"{_TRAFFIC}excludeOutboundIPRanges", _ranges, ()),
        outbound_ports=reading.get(f"{_TRAFFIC}includeOutboundPorts", _ports, ()),
        outbound_ports_excluded=reading.get(f"{_TRAFFIC}excludeOutboundPorts", _ports, ()),
    )
    sizes = {name: reading.get(key, _quantity, "") for name, key in _SIZES.items()}
    wishes = Wishes(
        capture=capture,
        sizes={name: size for name, size in sizes.items() if size},
        interception=reading.get(f"{_SIDECAR}interceptionMode", _interception, Interception.REDIRECT),
        is_native=reading.get(f"{_SIDECAR}nativeSidecar", _boolean, None),
        are_probes_kept=not reading.get(f"{_SIDECAR}rewriteAppHTTPProbers", _boolean, True),
    )
    return wishes, (*reading.flaws, *_without_effect(annotations))


class _Reading:
    """Reads one annotation after another and collects what is wrong. Owned by :func:`read`."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self._annotations = annotations
        self.flaws: list[Flaw] = []

    def get(self, name: str, parse: Callable[[str], T], default: T) -> T:
        if name not in self._annotations:
            return default
        try:
            return parse(str(self._annotations[name]).strip())
        except Unusable as error:
            self.flaws.append(Flaw(name, str(error), "correct it, or take it out"))
            return default


def _without_effect(annotations: Mapping[str, str]) -> Iterator[Flaw]:
    for name in annotations:
        is_istio = name.startswith((_SIDECAR, _TRAFFIC, "proxy.istio.io/", "inject.istio.io/"))
        if is_istio and name not in _READ:
            yield Flaw(name, "no effect here: what a proxy does is said in the mesh's repository")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _ports(text: str) -> tuple[int, ...]:
    for part in _listed(text):
        if not (part.isascii() and part.isdecimal() and len(part) <= 5 and 0 < int(part) < 65536):
            raise Unusable(f"expected ports between 1 and 65535, found {part!r}")
    return tuple(sorted({int(part) for part in _listed(text)}))


def _ports_or_all(text: str) -> tuple[int, ...] | None:
    return None if text == "*" else _ports(text)


def _ranges(text: str) -> tuple[str, ...]:
    """Overlapping ones are joined: nft refuses a set of intervals that overlap."""
    found = []
    for part in _listed(text):
        try:
            found.append(ipaddress.IPv4Network(part, strict=False))
        except ValueError:
            raise Unusable(f"expected IPv4 ranges such as 10.0.0.0/8, found {part!r}") from None
    return tuple(str(network) for network in ipaddress.collapse_addresses(found))


def _ranges_or_all(text: str) -> tuple[str, ...] | None:
    return None if text == "*" else _ranges(text)


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise Unusable(f"expected 'true' or 'false', found {text!r}")
    return _BOOLEANS[text.lower()]


def _quantity(text: str) -> str:
    if not _QUANTITY.fullmatch(text):
        raise Unusable(f"expected a quantity such as 100m or 128Mi, found {text!r}")
    return text


def _interception(text: str) -> Interception:
    if text not in {"REDIRECT", "NONE"}:
        raise Unusable(f"expected REDIRECT or NONE, found {text!r}")
    return Interception(text)
