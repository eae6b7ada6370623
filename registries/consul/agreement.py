"""What the instances of one service say together: its port, its protocol, who may see it.

Each says it for itself in Consul. Most of them decide, and the least text where two are said equally often:
the order in which Consul lists them decides nothing.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from mesh.kinds.registry_consul import ConsulMapping
from mesh.kinds.rules import dns_label, port_name, protocol
from mesh.services import Location, Port, Protocol, protocol_of
from registries.consul.instances import Findings, Registered, shown

EXTERNAL_META = "external"
EXPORT_META = "exportTo"
_PORTS_SHOWN_MAX = 5


class Agreement:
    """Of the instances of one service in one namespace. Lives as long as they are mapped."""

    def __init__(self, instances: Sequence[Registered], mapping: ConsulMapping, findings: Findings) -> None:
        self._instances, self._mapping, self._findings = instances, mapping, findings

    def port(self) -> Port | None:
        """The port that clients call: as said, else as set, else the lowest that is registered."""
        said = self._agreed(self._mapping.port_meta)
        if said and not _is_port(said):
            self._findings.add(
                f"the port that clients call is none: {shown(said)}",
                f"say a number from 1 to 65535 in meta {self._mapping.port_meta!r}",
            )
            said = ""
        number = int(said) if said else self._mapping.port or self._lowest()
        if not number:
            self._findings.add("no instance has a port", "register them with ports; the service is left out")
            return None
        name = self._agreed(self._mapping.port_name_meta) or self._port_name()
        if name and port_name(name):
            self._findings.add(
                f"the port has a name that is none: {name!r}",
                f"say a DNS label in meta {self._mapping.port_name_meta!r}",
            )
            name = ""
        spoken = protocol_of(self._protocol(), name, number)
        return Port(
            number=number,
            name=sys.intern(name or _named_for(spoken)),
            protocol=spoken,
            target=number,
        )

    def _lowest(self) -> int:
        """It moves when the instance that has it goes: whose instances differ should say the port."""
        ports = sorted({one.port for one in self._instances if one.is_listening})
        if len(ports) > 1:
            listed = ", ".join(map(str, ports[:_PORTS_SHOWN_MAX]))
            more = len(ports) - _PORTS_SHOWN_MAX
            self._findings.add(
                f"its instances have different ports ({listed}{f' and {more} more' if more > 0 else ''}), "
                f"and clients call {ports[0]} only as long as one has it",
                f"say meta {self._mapping.port_meta!r}, or set mapping.port",
            )
        return ports[0] if ports else 0

    def _port_name(self) -> str:
        return next((one.port_name for one in self._instances if one.port_name), "")

    def _protocol(self) -> str:
        said = self._agreed(self._mapping.protocol_meta) or self._mapping.protocol
        if wrong := protocol(said):
            self._findings.add(wrong, "say http, http2, grpc, https, tls or tcp; it is detected until then")
            return ""
        return said

    def location(self) -> Location:
        is_external = self._agreed(EXTERNAL_META).lower() == "true"
        return Location.EXTERNAL if is_external else Location.INTERNAL

    def export_to(self) -> tuple[str, ...]:
        said = self._agreed(EXPORT_META)
        exports = tuple(part.strip() for part in said.split(",")) if said else ("*",)
        # As in documents: "*" and "~" stand alone.
        is_right = exports in {("*",), ("~",)} or all(one == "." or not dns_label(one) for one in exports)
        if not is_right:
            self._findings.add(
                f"exportTo is none: {said!r}",
                "say namespaces with commas between, '.', '*' or '~'; until then only its own sees it",
            )
            return (".",)
        return exports

    def _agreed(self, key: str) -> str:
        """What most instances say; the least text where two are said equally often."""
        said = Counter(text for one in self._instances if (text := one.said.get(key)))
        if not said:
            return ""
        if len(said) > 1:
            self._findings.add(
                f"its instances disagree on {key!r}: {', '.join(map(repr, sorted(said)))}",
                "say the same in all of them; until then, what most say holds",
            )
        return min(said, key=lambda text: (-said[text], text))


def _is_port(text: str) -> bool:
    # Python refuses to read numbers of some thousand digits.
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535


def _named_for(spoken: Protocol) -> str:
    return spoken.lower() or "default"
