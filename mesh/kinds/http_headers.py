"""Edits of the headers of requests and responses."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.kinds.header_rules import header_edit_name, header_value
from mesh.kinds.kind import NOTHING, Kind, StringMap, Texts
from mesh.kinds.rules import below, each, wrong
from mesh.places import Place
from mesh.problems import Problem


class HeaderOperations(Kind):
    """Edits of one direction's headers. Istio, "Headers.HeaderOperations"."""

    set: StringMap = NOTHING
    add: StringMap = NOTHING
    remove: Texts = ()


class Headers(Kind):
    """Edits of the request's and the response's headers. Istio, "Headers"."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


def check_headers(headers: Headers, where: Place, at: str) -> Iterator[Problem]:
    for direction, edits in (("request", headers.request), ("response", headers.response)):
        if edits is None:
            continue
        for operation, pairs in (("set", edits.set), ("add", edits.add)):
            for name, value in pairs.items():
                path = below(f"{at}.{direction}.{operation}", name)
                is_authority = direction == "request" and name.lower() in {"host", ":authority"}
                yield from wrong(where, path, "" if is_authority else header_edit_name(name))
                yield from wrong(where, path, header_value(value))
        yield from each(where, f"{at}.{direction}.remove", edits.remove, header_edit_name)
