"""Response bodies, made once and shared by every stream that takes the same step.

A step is "from this part to that part, for a stream interested in these names". Its bytes are the
same for all streams that take it, and protobuf fields concatenate, so a response is joined from
chunks and never built (DESIGN D2, D3). Even the nonce is the chunk's own: as long as a response is
one chunk, all streams are handed one immutable object. The counters are asserted in tests.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from xds.resources import NOTHING, Part, Resource, field
from xds.subscription import NO_NAMES, Interest

# envoy.service.discovery.v3.DeltaDiscoveryResponse and Resource, by field number.
_RESOURCES, _TYPE_URL, _NONCE, _REMOVED = 2, 4, 5, 6
_VERSION, _BODY, _NAME = 1, 2, 3

# A salt follows the content hash, so that a salted version still says which content it is.
_SALT = "."


def framed(resource: Resource, salt: str = "") -> bytes:
    """One resource as it stands in a response."""
    version = f"{resource.version}{_SALT}{salt}" if salt else resource.version
    return field(
        _RESOURCES,
        field(_VERSION, version.encode())
        + field(_BODY, resource.body)
        + field(_NAME, resource.name.encode()),
    )


def content_of(version: str) -> str:
    """The content hash in a version that a proxy reports, salted or not."""
    return version.partition(_SALT)[0]


def removals(names: Iterable[str]) -> bytes:
    return b"".join(field(_REMOVED, name.encode()) for name in sorted(names))


def ending(type_url: str, nonce: str) -> bytes:
    """The two fields that every response has."""
    return field(_TYPE_URL, type_url.encode()) + field(_NONCE, nonce.encode())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """What one step adds and changes (``names``, in ``message``) and what it loses (``lost``, not in it)."""

    names: frozenset[str]
    lost: frozenset[str]
    nonce: str
    message: bytes
    """A whole response: the frames, then the ending."""
    size: int
    """The length of the frames in ``message``."""

    @property
    def frames(self) -> memoryview:
        return memoryview(self.message)[: self.size]


class Bodies:
    """The chunks in use, newest last, within a budget of bytes. Owned by the server's loop."""

    def __init__(self, *, bytes_max: int = 64 * 1024 * 1024) -> None:
        self._chunks: OrderedDict[tuple[Part, Part, Interest], Chunk] = OrderedDict()
        self._bytes = 0
        self._bytes_max = bytes_max
        self._names: weakref.WeakValueDictionary[int, frozenset[str]] = weakref.WeakValueDictionary()
        self.built = 0
        """Chunks that had to be made."""
        self.sent = 0
        """Responses that were composed, shared or not."""

    def step(self, old: Part, new: Part, interest: Interest) -> Chunk:
        """From ``old`` to ``new``, as far as ``interest`` goes."""
        key = (old, new, interest)
        chunk = self._chunks.get(key)
        if chunk is not None:
            self._chunks.move_to_end(key)
            return chunk
        chunk = self._chunks[key] = _chunk(old, new, interest)
        self.built += 1
        self._bytes += _weight(key, chunk)
        while self._bytes > self._bytes_max and len(self._chunks) > 1:
            self._bytes -= _weight(*self._chunks.popitem(last=False))
        return chunk

    def answer(self, part: Part, names: frozenset[str]) -> Chunk:
        """Those of ``names`` that the part has, whatever the stream holds."""
        return self.step(NOTHING[part.type_url], part, Interest(wildcard=False, names=self.interned(names)))

    def interned(self, names: frozenset[str]) -> frozenset[str]:
        """The one set that stands for every set equal to this one, as long as anybody holds it."""
        if not names:
            return NO_NAMES
        found = self._names.get(hash(names))
        if found is None:
            found = self._names[hash(names)] = names
        # Two sets may share a hash; the second is then merely not shared.
        return found if found == names else names

    def forget(self) -> None:
        """Let go of every chunk. Streams that need one again have it made again."""
        self._chunks.clear()
        self._bytes = 0


def _weight(key: tuple[Part, Part, Interest], chunk: Chunk) -> int:
    # A chunk keeps its two parts alive: a table slot for each of their names, though rarely the resources.
    return len(chunk.message) + 64 * (len(key[0]) + len(key[1]))


def _chunk(old: Part, new: Part, interest: Interest) -> Chunk:
    if old is NOTHING.get(new.type_url) and not interest.wildcard:
        # A question for a few names must not cost a walk over the part.
        found = sorted(interest.names & new.resources.keys())
        changed, lost = [new.resources[name] for name in found], NO_NAMES
    else:
        change = new.since(old)
        wanted = interest.of(frozenset(resource.name for resource in change.changed))
        changed = [resource for resource in change.changed if resource.name in wanted]
        lost = interest.of(frozenset(change.removed))
    frames = b"".join([framed(resource) for resource in changed])
    nonce = blake2b(frames, digest_size=8).hexdigest()
    return Chunk(
        names=frozenset(resource.name for resource in changed),
        lost=lost,
        nonce=nonce,
        message=frames + ending(new.type_url, nonce),
        size=len(frames),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Response:
    """One response, written or about to be. ``parts`` is the target it was made for.

    ``is_answer``: it holds names that were asked for or had to be said again. ``is_trial``: it was sent
    to find out who is refused, under versions that nobody will see again.
    """

    type_url: str
    nonce: str
    message: bytes
    names: frozenset[str]
    removed: frozenset[str]
    parts: tuple[Part, ...]
    is_answer: bool = False
    is_trial: bool = False


def find(parts: tuple[Part, ...], name: str) -> Resource | None:
    return next((found for part in parts if (found := part.resources.get(name)) is not None), None)
