"""The delta protocol over one subscription: what one type on one stream holds, lacks and is sent.

What a stream holds is a reference to shared parts (``_base``) and the few names in which it differs
from them; there is no table of names per stream. A response is taken for applied when it is sent,
and what turns out otherwise is owed again:

- ``_asked``  names the proxy asked for: answered as they are, or as removed;
- ``_owed``   names that must be said again: after a refusal Envoy has applied the good ones and
  recorded none (reference/envoy-bets.md, 8), after a cluster changed it waits for its endpoints;
- ``_left``   names it still has and must lose, when the phases permit;
- ``_suspects``  what it refused: left out of everything but its own retries.

One response is in flight at a time, for a limited time: some failures bring neither ACK nor NACK.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum, auto

from xds.bodies import Bodies, Chunk, Response, content_of, ending, find, framed, removals
from xds.phases import SETTLED, Lack
from xds.quarantine import withheld
from xds.resources import NOTHING, Part
from xds.subscription import NO_NAMES, Asked, Interest, heard
from xds.suspects import Culprit, Found, Limits, Suspects

Parts = tuple[Part, ...]

# Answers that come later than this many responses are not waited for.
_EXPIRED_MAX = 4


class Heard(Enum):
    """What a request turned out to mean besides its names."""

    ACK = auto()
    NACK = auto()
    STALE = auto()


class Delta:
    """One resource type on one stream. Owned by that stream's session."""

    __slots__ = (
        "_asked",
        "_base",
        "_bodies",
        "_expired",
        "_flight",
        "_flight_limit",
        "_flight_until",
        "_greeting",
        "_lack",
        "_last_nonce",
        "_left",
        "_numbers",
        "_owed",
        "_suspects",
        "_target",
        "interest",
        "last_refusal",
        "type_url",
    )

    def __init__(self, type_url: str, bodies: Bodies, limits: Limits) -> None:
        self.type_url = type_url
        self.interest: Interest | None = None
        """None until the proxy has asked for this type."""
        self.last_refusal = ""
        self._bodies = bodies
        self._flight_limit = limits.flight
        self._suspects = Suspects(limits)
        self._base: Parts = ()
        self._target: Parts = ()
        self._asked = self._owed = self._left = NO_NAMES
        self._greeting = False
        self._flight: Response | None = None
        self._flight_until = 0.0
        self._expired: dict[str, Response] = {}
        self._last_nonce = ""
        self._numbers = itertools.count(1)
        self._lack: Lack | None = None
        """What :attr:`lack` said; None when something happened since."""

    def hear_names(
        self, subscribe: Iterable[str], unsubscribe: Iterable[str], versions: Mapping[str, str]
    ) -> None:
        """Subscription changes. They count with any nonce. ``versions``: what a returning proxy holds."""
        self._lack = None
        is_first = self.interest is None
        after, asked = heard(self.interest, self.type_url, subscribe, unsubscribe)
        self.interest = replace(after, names=self._bodies.interned(after.names))
        if is_first and versions:
            self._resume(self.interest, asked, versions)
        else:
            self._follow(self.interest, asked)

    def _follow(self, interest: Interest, asked: Asked) -> None:
        if asked.widened:
            # Which of the others it still has is not known, so everything is said.
            self._base, self._greeting = (), True
        self._asked = self._bodies.interned((self._asked - asked.dropped) | asked.answer)
        if asked.narrowed or asked.dropped:
            self._owed = interest.of(self._owed) - asked.dropped
            self._left = interest.of(self._left) - asked.dropped
            culprits = frozenset(self._suspects.culprits)
            self._suspects.forget((culprits - interest.of(culprits)) | (culprits & asked.dropped))

    def _resume(self, interest: Interest, asked: Asked, versions: Mapping[str, str]) -> None:
        """Envoy kept what it had while nobody was there: only the difference is sent.

        A name it asks for without a version is one it waits for; one with a version it has.
        """
        self._base = self._target
        reported = dict(versions)
        present, same = NO_NAMES, set[str]()
        for part in self._target:
            resources = part.resources
            present |= interest.of(frozenset(resources))
            same.update(
                name
                for name, version in reported.items()
                if (known := resources.get(name)) is not None
                and (known.version == version or known.version == content_of(version))
            )
        self._asked = self._bodies.interned(asked.answer.difference(reported))
        self._owed = self._bodies.interned(present - same - self._asked)
        self._left = self._bodies.interned(interest.of(frozenset(reported)) - present)

    def hear_nonce(self, nonce: str, error: str, now: float, jitter: float) -> Heard:
        """What an answer means. ``error`` is empty for an ACK; ``jitter`` is a number in [0, 1)."""
        self._lack = None
        response = self._flight
        if response is None or nonce != response.nonce:
            # Too late to count as an ACK; but a refusal is true whenever it comes.
            late = self._expired.pop(nonce, None)
            if late is None or not error:
                return Heard.STALE
            self._refused(late, error, now, jitter)
            return Heard.NACK
        self._flight = None
        self._expired.clear()
        if error:
            self._refused(response, error, now, jitter)
            return Heard.NACK
        self._suspects.accepted(response)
        if not self._suspects.culprits and not self._suspects.is_searching:
            self.last_refusal = ""
        return Heard.ACK

    def _refused(self, response: Response, error: str, now: float, jitter: float) -> None:
        self.last_refusal = error
        self._suspects.refused(response, error, now, jitter)
        if response.names:
            # Envoy has recorded nothing of it, whatever it applied: all of it is said again. A refused
            # removal alone is not: there is nothing that could be left out of it.
            again = (self._owed | response.names | response.removed).difference(self._suspects.culprits)
            self._owed = self._bodies.interned(again)

    def take_found(self) -> list[Found]:
        """The culprits found since the last call."""
        found, self._suspects.found = self._suspects.found, []
        return found

    @property
    def culprits(self) -> Mapping[str, Culprit]:
        return self._suspects.culprits

    def aim(self, target: Parts) -> None:
        """The newest target. What needs no words (nothing the stream wants differs) is held at once."""
        if target == self._target:
            return
        self._lack = None
        self._target = target
        self._suspects.acquit(target)
        if self.interest is not None and not any(chunk.names for chunk in self._steps(self.interest)):
            self._move(self.interest)

    def _steps(self, interest: Interest) -> list[Chunk]:
        """From what it holds to what it shall have, part by part."""
        nothing = NOTHING.get(self.type_url)
        return [
            self._bodies.step(old, new, interest)
            for old, new in itertools.zip_longest(self._base, self._target, fillvalue=nothing)
            if old is not new and old is not None and new is not None
        ]

    def _move(self, interest: Interest) -> list[Chunk]:
        """Take the target for held, and return the chunks that make it so."""
        steps = self._steps(interest)
        left = self._left.union(*(chunk.lost for chunk in steps))
        if left:
            # A name may have moved from one part to another, or have come back.
            left = frozenset(name for name in left if find(self._target, name) is None)
        self._left = self._bodies.interned(left)
        self._base = self._target
        return [chunk for chunk in steps if chunk.names]

    def repeat(self, names: frozenset[str]) -> None:
        """Say these again, as far as the stream is interested."""
        again = self.interest.of(names) if self.interest is not None else NO_NAMES
        if again:
            self._lack = None
            self._owed = self._bodies.interned(self._owed | again)

    def next(self, *, gains: bool, losses: bool, now: float) -> Response | None:
        """The response that may be written now, if any. It is in flight from now on."""
        if self.interest is None or now < self._suspects.quiet_until:
            return None
        if self._flight is not None and now < self._flight_until:
            return None
        response = (
            self._trial() or self._update(self.interest, gains=gains, losses=losses) or self._retry(now)
        )
        self._lack = None
        if response is not None:
            if self._flight is not None:
                self._expired[self._flight.nonce] = self._flight
                while len(self._expired) > _EXPIRED_MAX:
                    del self._expired[next(iter(self._expired))]
            self._flight, self._flight_until = response, now + self._flight_limit
            self._last_nonce = response.nonce
            self._bodies.sent += 1
        return response

    def _update(self, interest: Interest, *, gains: bool, losses: bool) -> Response | None:
        chunks: list[Chunk] = []
        removed = NO_NAMES
        is_answer = gains and bool(self._asked or self._owed)
        is_greeting = gains and self._greeting
        if gains:
            chunks = self._changed(interest)
            said = NO_NAMES.union(*(chunk.names for chunk in chunks))
            rest = (self._asked | self._owed).difference(said, self._suspects.culprits)
            for part in self._target if rest else ():
                chunk = self._bodies.answer(part, rest)
                if chunk.names:
                    chunks.append(chunk)
                    rest -= chunk.names
            # What was asked for and is not there is said so at once, or Envoy waits for 15 s. What is owed
            # and gone is a removal like others, and has its phase.
            removed = rest & self._asked
            self._left = self._bodies.interned((self._left | rest) - removed)
            self._asked = self._owed = NO_NAMES
            self._greeting = False
        if losses:
            removed |= self._losses()
            self._left = self._bodies.interned(self._left - removed)
        if not chunks and not removed and not is_greeting:
            return None
        return self._joined(chunks, removed, is_answer=is_answer)

    def _changed(self, interest: Interest) -> list[Chunk]:
        if self._base == self._target:
            return []
        chunks = self._move(interest)
        if any(not chunk.names.isdisjoint(self._suspects.culprits) for chunk in chunks):
            # The target left a refused version and came back to it: the shared bytes cannot be used.
            self._owed = self._owed.union(*(chunk.names for chunk in chunks))
            return []
        return chunks

    def _losses(self) -> frozenset[str]:
        if not self._left or self.interest is None:
            return NO_NAMES
        return self.interest.of(self._left) - withheld(self._target)

    def _joined(self, chunks: list[Chunk], removed: frozenset[str], *, is_answer: bool) -> Response:
        match chunks:
            # A nonce must tell this response from the last one, and from those that may yet be answered.
            case [only] if not removed and only.nonce != self._last_nonce and not self._expired:
                nonce, message, names = only.nonce, only.message, only.names
            case _:
                nonce = self._own_nonce()
                frames = [chunk.frames for chunk in chunks]
                message = b"".join((*frames, removals(removed), ending(self.type_url, nonce)))
                names = NO_NAMES.union(*(chunk.names for chunk in chunks))
        return Response(
            type_url=self.type_url,
            nonce=nonce,
            message=message,
            names=names,
            removed=removed,
            parts=self._target,
            is_answer=is_answer,
        )

    def _trial(self) -> Response | None:
        """The next group of suspects. They stay owed: the good ones are said once more at the end,
        under their own versions, so that Envoy's record names what is served.
        """
        if not self._suspects.is_searching:
            return None
        group = self._suspects.group(frozenset().union(*(part.resources for part in self._target)))
        return self._salted(group) if group else None

    def _retry(self, now: float) -> Response | None:
        name = self._suspects.retry(now)
        return self._salted(frozenset((name,))) if name else None

    def _salted(self, names: frozenset[str]) -> Response | None:
        """These alone. A version string is never reused after a NACK (envoy#12592), so it gets a salt."""
        nonce = self._own_nonce()
        resources = [found for name in sorted(names) if (found := find(self._target, name)) is not None]
        frames = b"".join(framed(resource, nonce) for resource in resources)
        return Response(
            type_url=self.type_url,
            nonce=nonce,
            message=frames + ending(self.type_url, nonce),
            names=names,
            removed=NO_NAMES,
            parts=self._target,
            is_trial=True,
        )

    def _own_nonce(self) -> str:
        return f"n{next(self._numbers)}"

    @property
    def lack(self) -> Lack:
        """What is not acknowledged yet."""
        if self._lack is None:
            self._lack = self._lacking()
        return self._lack

    def _lacking(self) -> Lack:
        if self.interest is None:
            return SETTLED
        flight = self._flight
        answers = bool(self._asked or self._owed) or self._suspects.is_searching
        answers = answers or (flight is not None and flight.is_answer)
        gains = answers or self._greeting or self._base != self._target
        gains = gains or (flight is not None and (bool(flight.names) or not flight.removed))
        losses = bool(self._losses()) or (flight is not None and bool(flight.removed))
        return Lack(gains=gains, losses=losses, answers=answers) if gains or losses else SETTLED

    @property
    def held(self) -> Parts | None:
        """The parts that the proxy holds exactly and has acknowledged, or None while it differs."""
        if self.interest is None or self._flight is not None or self._suspects.culprits:
            return None
        if self._asked or self._owed or self._greeting or self._suspects.is_searching or self._losses():
            return None
        return self._base

    @property
    def is_resting(self) -> bool:
        """Whether :meth:`next` has nothing to say, whatever is permitted and however late it is."""
        return self.lack is SETTLED and not self._suspects.culprits

    def due(self, now: float) -> float | None:
        """When time alone changes what :meth:`next` says."""
        if self.is_resting:
            return None
        flight = () if self._flight is None else (self._flight_until,)
        return min((moment for moment in (*flight, *self._suspects.moments()) if moment > now), default=None)
