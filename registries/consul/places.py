"""Where an instance is: its address and port, and its locality."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from mesh.kinds.registry_consul import ConsulMapping
from mesh.kinds.rules import domain
from mesh.services import Locality

_BROADCAST = "255.255.255.255"


def place_of(
    node: Mapping[str, Any], service: Mapping[str, Any], sources: Iterable[str]
) -> tuple[str, int, bool]:
    """Address, port and whether the address is an IP: of the first source that has one."""
    port = service.get("Port") or 0
    for source in sources:
        of, _, tag = source.partition(".")
        if of == "node":
            text, own = (node.get("TaggedAddresses") or {}).get(tag) if tag else node.get("Address"), 0
        elif tag:
            tagged = (service.get("TaggedAddresses") or {}).get(tag) or {}
            text, own = tagged.get("Address"), tagged.get("Port") or 0
        else:
            text, own = service.get("Address"), 0
        address, is_ip = _address(text or "")
        if address:
            return address, own or port, is_ip
    return "", port, False


def _address(text: str) -> tuple[str, bool]:
    """The address as everybody writes it, and whether it is an IP. Empty: nothing to connect to."""
    try:
        found = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return ("", False) if domain(text) else (text.lower().removesuffix("."), False)
    plain = getattr(found, "ipv4_mapped", None) or found
    # "Everywhere" is where a server listens, a group or all at once is no one endpoint, and a zone means
    # something on its own machine only. A loopback address may be right: on a machine that is the whole mesh.
    is_one = not (plain.is_unspecified or plain.is_multicast or str(plain) == _BROADCAST)
    return (str(found), True) if is_one and "%" not in text else ("", False)


def locality_of(node: Mapping[str, Any], service: Mapping[str, Any], mapping: ConsulMapping) -> Locality:
    """The node's meta, else Consul's own locality of the service or the node, else the datacenter."""
    meta = node.get("Meta") or {}
    own = service.get("Locality") or node.get("Locality") or {}
    return _at(
        meta.get(mapping.region_meta) or own.get("Region") or node.get("Datacenter") or "",
        meta.get(mapping.zone_meta) or own.get("Zone") or "",
        meta.get(mapping.subzone_meta) or "",
    )


@lru_cache(maxsize=4096)
def _at(region: str, zone: str, subzone: str) -> Locality:
    """One object for all who are there."""
    return Locality(region, zone, subzone)
