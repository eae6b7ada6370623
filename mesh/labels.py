"""Labels, and the selectors that pick by them.

A label set is a sorted tuple of pairs, so that equal sets are equal, hashable and cheap to
intern. ``None`` as a selector selects nothing said; an empty selector selects everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Labels = tuple[tuple[str, str], ...]

NO_LABELS: Labels = ()


def labels(mapping: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> Labels:
    """A label set from a mapping or pairs."""
    if mapping is None:
        return NO_LABELS
    pairs = mapping.items() if isinstance(mapping, Mapping) else mapping
    return tuple(sorted(dict(pairs).items()))


def selects(selector: Labels, subject: Labels) -> bool:
    """Whether every pair of the selector is among the subject's. An empty selector selects all."""
    if not selector:
        return True
    have = dict(subject)
    return all(have.get(key) == value for key, value in selector)


def project(subject: Labels, keys: frozenset[str]) -> Labels:
    """Only the pairs whose key is in ``keys``: what a class of proxies is told apart by (D2)."""
    return tuple(pair for pair in subject if pair[0] in keys)
