"""Remembers translations by their inputs, one generation deep.

This is one of the two places where any exception is caught (STYLE 4.9): when the making of one
resource raises, its last bytes stay, the failure is recorded with its name, and the rest goes on. The same
holds for what lies around single resources: a facet that cannot be made keeps its parts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from mesh.interning import Recall
from mesh.names import ObjectKey

log = logging.getLogger(__name__)

R = TypeVar("R")
LastMade = dict[tuple[Callable[..., Any], str], Any]
"""The last that was made under a name, by the function that made it."""


@dataclass(frozen=True, slots=True)
class Broken:
    """One resource that could not be made: a bug of ours, contained."""

    resource: str
    function: str
    reason: str
    sources: tuple[ObjectKey, ...] = ()
    """The objects that what it was to be made of came from."""


class Memo(Recall):
    """A :class:`Recall` for resources. Owned by the task that translates.

    Names are unique in one facet only (every workload has a ``virtualInbound``), so what is kept for a
    broken resource belongs to the facet on whose behalf it was made: never one workload's bytes for another.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: LastMade = {}
        self._owner = ""
        self._broken: dict[tuple[str, Callable[..., Any], str], Broken] = {}

    @property
    def broken(self) -> tuple[Broken, ...]:
        """What could not be made when it was last asked for."""
        return tuple(self._broken.values())

    @contextmanager
    def on_behalf_of(self, owner: str, kept: LastMade) -> Iterator[None]:
        """Resources are made for this facet, which keeps the last of each in ``kept``."""
        before = self._owner, self._last
        self._owner, self._last = owner, kept
        try:
            yield
        finally:
            self._owner, self._last = before

    def resource(self, name: str, function: Callable[..., R], *arguments: Any) -> Iterator[R]:
        """Like :meth:`get` for the making of the resource called ``name``; yields it.

        When making it raises, yields the last one made under that name, or nothing if there was none.
        """
        key = function, name
        self.contained(name, function, arguments, lambda: self._keep(key, self.get(function, *arguments)))
        if key in self._last:
            yield self._last[key]

    def contained(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], call: Callable[[], object]
    ) -> bool:
        """Call. A failure is recorded under ``name``, with the objects behind ``arguments``; then False."""
        # A cluster and its endpoints have one name: only with its maker does a name say which resource.
        # What is made for no facet is a facet itself.
        place = self._owner or name, function, name
        try:
            call()
        except Exception as error:
            if place not in self._broken:
                log.exception("resource broken", extra={"resource": name, "function": function.__name__})
            self._broken[place] = Broken(
                name,
                function.__name__,
                f"{type(error).__name__}: {error}",
                tuple(dict.fromkeys(_sources(arguments))),
            )
            return False
        if self._broken:
            self._broken.pop(place, None)
        return True

    def _keep(self, key: tuple[Callable[..., Any], str], made: Any) -> None:
        self._last.pop(key, None)  # the order is that of the last success
        self._last[key] = made

    def forget_owner(self, owner: str) -> None:
        """The facet is gone, and what was wrong with it."""
        self._broken = {key: broken for key, broken in self._broken.items() if key[0] != owner}


def _sources(given: Any) -> Iterator[ObjectKey]:
    """The objects behind what a resource was to be made of: whatever names its ``source`` or ``sources``."""
    match given:
        case ObjectKey():
            yield given
        case tuple():
            for part in given:
                yield from _sources(part)
        case _:
            yield from getattr(given, "sources", ())
            if isinstance(source := getattr(given, "source", None), ObjectKey):
                yield source
