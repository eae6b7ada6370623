"""Equal values become the same object.

Translation is remembered by the identity of its inputs (DESIGN D1), so equal inputs must be one
object. An :class:`Interner` makes them so by comparing values; a :class:`Recall` makes
the results of a function so by comparing the identity of its arguments. Both hold what they hand out
strongly and forget, a generation at a time, what was not asked for again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")
Key = tuple[Any, ...]


class Interner:
    """A table of values. Owned by the task that builds worlds."""

    def __init__(self) -> None:
        self._values: dict[tuple[type, Hashable], Hashable] = {}
        self._used: set[tuple[type, Hashable]] = set()

    def __call__(self, value: T) -> T:
        """The one object that stands for every value equal to this one."""
        # The type is part of the key: 1, 1.0 and True are equal and not the same.
        key = (type(value), value)
        found = self._values.setdefault(key, value)
        self._used.add(key)
        return cast("T", found)

    def drop_unused(self) -> int:
        """Forget what was not asked for since the last call. Returns how many were forgotten."""
        unused = self._values.keys() - self._used
        for key in unused:
            del self._values[key]
        self._used.clear()
        return len(unused)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(slots=True)
class _Entry:
    inputs: tuple[Any, ...]
    result: Any
    inner: list[Key]
    """What was asked for while this was made: it lives as long as this does."""


class Recall:
    """Remembers the results of functions by the identity of their arguments.

    The arguments are held, so an identity cannot be reused while its entry lives: bare ``id()`` keys
    return stale results (DESIGN D1). Arguments that are equal and not the same object cost a second
    computation, never a wrong one. Calls may nest. Owned by the task that calls it.
    """

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._asked: set[Key] = set()
        self._making: list[list[Key]] = []
        self._kept = 0
        self.made: Counter[str] = Counter()
        """How often each function really ran, by its name."""

    def get(self, function: Callable[..., R], *arguments: Any) -> R:
        """``function(*arguments)``, computed now or remembered."""
        return self.keyed(arguments, function, *arguments)

    def keyed(self, inputs: tuple[Any, ...], function: Callable[..., R], *arguments: Any) -> R:
        """Like :meth:`get`, for a function that reads of its arguments no more than ``inputs``.

        For steps that take a whole world and look at three slices of it.
        """
        key = (function, *map(id, inputs))
        entry = self._entries.get(key)
        if entry is None:
            inner: list[Key] = []
            self._making.append(inner)
            try:
                self.made[function.__name__] += 1
                entry = _Entry(inputs, function(*arguments), inner)
            finally:
                self._making.pop()
            self._entries[key] = entry
        if self._making:
            self._making[-1].append(key)
        else:
            self._asked.add(key)
        return cast("R", entry.result)

    @property
    def is_crowded(self) -> bool:
        """Whether about as much is useless as is useful: time to ask for all in force and forget the rest."""
        return len(self._entries) > 2 * self._kept + _FEW

    def begin_generation(self) -> None:
        """From here on everything in force is asked for again."""
        self._asked.clear()

    def end_generation(self) -> None:
        """Forget what was not asked for since :meth:`begin_generation`.

        What was made on the way to a result that stays, stays with it.
        """
        kept: dict[Key, _Entry] = {}
        open_keys = list(self._asked)
        while open_keys:
            key = open_keys.pop()
            if key not in kept:
                kept[key] = self._entries[key]
                open_keys += kept[key].inner
        self._entries = kept
        self._kept = len(kept)
        self._asked.clear()

    def __len__(self) -> int:
        return len(self._entries)


_FEW = 1000
_NUMBERS: dict[int, tuple[int]] = {}


def number(value: int) -> tuple[int]:
    """One object per number, for functions that are remembered by identity.

    Python shares small integers only. Ports are what this is for, so the table is bounded.
    """
    return _NUMBERS.setdefault(value, (value,))


def gathered(*members: R) -> tuple[R, ...]:
    """Called through :meth:`Recall.get`: the same tuple as long as the members are the same objects."""
    return members
