"""String, header and path matches, shared."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.kinds.kind import Kind, Text
from mesh.kinds.rules import one_of, regex, said, wrong
from mesh.places import Place
from mesh.problems import Problem


class StringMatch(Kind):
    """Exactly one of the three; none means "present". Istio, "StringMatch"."""

    exact: Text | None = None
    prefix: Text | None = None
    regex: Text | None = None


def check(
    match: StringMatch,
    place: Place,
    path: str,
    *,
    may_be_empty_prefix: bool = False,
    star_is_present: bool = False,
) -> Iterator[Problem]:
    """Istio, ``validateStringMatch``.

    :param star_is_present: the regex ``*``, which is none, means that the header is there.
    """
    yield from one_of(place, path, said(exact=match.exact, prefix=match.prefix, regex=match.regex))
    if match.prefix == "" and not may_be_empty_prefix:
        yield from wrong(place, f"{path}.prefix", "expected a prefix, found nothing")
    if match.regex is not None and not (star_is_present and match.regex == "*"):
        yield from wrong(place, f"{path}.regex", regex(match.regex))
