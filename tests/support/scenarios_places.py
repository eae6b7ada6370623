"""Where the machines of a scenario stand: from the addresses it writes to addresses of the loopback.

A scenario's machines stand at ``10.0.0.N``. Here each becomes two addresses of the loopback, its address
on the network and its own ``127.0.0.1``, and every port stays what it is; nothing else in what a proxy is
told is changed.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xds import envoy
from xds.resources import Resource

OUTSIDE = "/etc/outside/"
"""Files of this folder are the outside world's: ``ca.pem`` is the authority that everybody knows."""
NETWORK = "10.0.0."
VIRTUAL = "127.0.1."
"""Loopback addresses of services: what applications without capture call."""
_CLAIM_PORT = 15999


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Three blocks of the loopback, ``127.<street>.<block>.*`` and the two after it."""

    street: int
    block: int

    def network(self, address: str) -> str:
        """Where ``10.0.0.N`` is, and ``127.0.1.N``; all else is where it was."""
        if address.startswith(NETWORK):
            return self._at(0, address)
        return self._at(2, address) if address.startswith(VIRTUAL) else address

    def own(self, machine: str) -> str:
        """The ``127.0.0.1`` of the machine at ``10.0.0.N``."""
        return self._at(1, machine)

    def moved(self, made: Resource, machine: str, names: Mapping[str, str]) -> Resource:
        """What the proxy of a machine is told, with the addresses that are here. ``names`` stand for DNS."""
        return _again(made, self._moved(envoy.as_dict(made.message), machine, names))

    def _moved(self, value: Any, machine: str, names: Mapping[str, str]) -> Any:
        match value:
            case {"address": str(address), "port_value": int()}:
                return {**value, "address": self._address(names.get(address, address), machine)}
            case dict():
                return {key: self._moved(inner, machine, names) for key, inner in value.items()}
            case list():
                return [self._moved(inner, machine, names) for inner in value]
            case _:
                return value

    def _address(self, address: str, machine: str) -> str:
        match address:
            case "127.0.0.1":
                return self.own(machine)
            case "0.0.0.0":
                return self.network(machine)
            case _:
                return self.network(address)

    def _at(self, block: int, address: str) -> str:
        return f"127.{self.street}.{self.block + block}.{address.rpartition('.')[2]}"


@contextlib.contextmanager
def claimed() -> Iterator[Neighbourhood]:
    """Blocks that no other run on this machine has meanwhile."""
    chance = random.Random()
    for _ in range(100):
        found = Neighbourhood(chance.randrange(64, 127), chance.randrange(0, 252, 3))
        with socket.socket() as claim:
            try:
                claim.bind((found.network(f"{NETWORK}254"), _CLAIM_PORT))
            except OSError:
                continue
            yield found
            return
    raise AssertionError("every part of the loopback is taken")


def with_files(made: Resource, folder: Path) -> Resource:
    """The same, with the outside's files in ``folder``."""
    text = json.dumps(envoy.as_dict(made.message)).replace(OUTSIDE, f"{folder}/")
    return _again(made, json.loads(text))


def _again(made: Resource, literal: Any) -> Resource:
    return Resource.of(made.name, envoy.parsed(made.type_url.partition("/")[2], literal))
