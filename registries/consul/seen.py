"""Which services have to be read again.

What a blocking query shows is compared with what was *read* of each service, never with what the query showed
before: a read in between may have met a moment that lies between two answers of the query, and a comparison
of those two would leave it standing for ever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from registries.consul.shapes import Trouble, node_of, trouble, troubles


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last read of a service showed that other queries show too."""

    index: int
    """Of this service alone: Consul keeps one for each, and it moves with everything that the read shows."""
    nodes: Mapping[str, int]
    """Its nodes, and the index at which each changed last."""
    troubles: frozenset[Trouble]

    @classmethod
    def of(cls, index: int, entries: Iterable[Mapping[str, Any]]) -> Seen:
        listed = list(entries)
        return cls(
            index,
            dict(node for entry in listed if (node := node_of(entry))),
            frozenset(one for entry in listed for one in troubles(entry)),
        )


def by_name(seen: Mapping[str, Seen], names: frozenset[str]) -> frozenset[str]:
    """Those that appeared, and those that vanished: reading them is what tells that nothing is left."""
    return names ^ seen.keys()


def by_checks(seen: Mapping[str, Seen], checks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Those whose checks stand otherwise than when they were read; ``checks`` are all that do not pass."""
    of_services: defaultdict[str, set[Trouble]] = defaultdict(set)
    of_nodes: defaultdict[str, set[Trouble]] = defaultdict(set)
    for check in checks:
        one = trouble(check)
        if name := check["ServiceName"]:
            of_services[name.lower()].add(one)
        else:
            of_nodes[one[0]].add(one)
    for name, known in seen.items():
        sick = of_nodes.keys() & known.nodes.keys() if of_nodes else ()
        if name in of_services or known.troubles or sick:
            expected = of_services.get(name, set()).union(*(of_nodes[node] for node in sick))
            if expected != known.troubles:
                yield name
    # A service that is not known yet: its name may come a moment later.
    yield from of_services.keys() - seen.keys()


def at_nodes(nodes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """At which index each node changed last; ``nodes`` are all there are."""
    return {node["Node"]: node["ModifyIndex"] for node in nodes}


def by_nodes(seen: Mapping[str, Seen], now: Mapping[str, int]) -> Iterator[str]:
    """Those on a node whose address or meta changed since they were read."""
    for name, known in seen.items():
        if any(now.get(node, index) != index for node, index in known.nodes.items()):
            yield name
