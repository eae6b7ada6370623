"""How one Istio match becomes one Envoy match.

Port, gateways, source labels and source namespace are decided before a view exists
(``mesh/scope.py``): what arrives here is asked of the request itself. An absent value, and the
regular expression ``*``, mean "present".
"""

from __future__ import annotations

from typing import Any

from mesh.kinds.matches import StringMatch
from mesh.kinds.virtual_service import HTTPMatchRequest


def write(match: HTTPMatchRequest | None, written: Any) -> None:
    """Fill the Envoy ``RouteMatch``. ``None`` matches every request."""
    if match is None:
        written.prefix = "/"
        return
    _write_path(match, written)
    for name, said, is_inverted in _headers(match):
        _write_header(name, said, written.headers.add(), is_inverted=is_inverted)
    for name, said in match.query_params.items():
        parameter = written.query_parameters.add(name=name)
        if is_present(said):
            parameter.present_match = True
        else:
            write_string(said, parameter.string_match)


def is_present(said: StringMatch) -> bool:
    """Whether any value will do. Istio, ``canBeConvertedToPresentMatch``.

    An empty prefix is one that every value has, and Envoy refuses to be told so.
    """
    return said.regex == "*" or (said.exact is None and not said.prefix and said.regex is None)


def write_string(said: StringMatch, written: Any) -> None:
    """Fill an Envoy ``StringMatcher``. A regular expression matches the whole value."""
    if said.exact is not None:
        written.exact = said.exact
    elif said.prefix is not None:
        written.prefix = said.prefix
    else:
        written.safe_regex.regex = said.regex or ""


def _write_path(match: HTTPMatchRequest, written: Any) -> None:
    # Case is of no meaning to a regular expression: it brings its own flags.
    if match.ignore_uri_case:
        written.case_sensitive.value = False
    match match.uri:
        case StringMatch(regex="*"):
            written.prefix = "/"
        case StringMatch(exact=str(exact)):
            written.path = exact
        case StringMatch(regex=str(regex)):
            written.safe_regex.regex = regex
        case StringMatch(prefix=str(prefix)):
            written.prefix = prefix
        case _:
            written.prefix = "/"


def _headers(match: HTTPMatchRequest) -> list[tuple[str, StringMatch, bool]]:
    """Every header asked for and whether the answer is inverted; pseudo headers last."""
    asked = [(name, said, False) for name, said in match.headers.items()]
    asked += [(name, said, True) for name, said in match.without_headers.items()]
    asked.sort(key=lambda header: (header[0], header[2]))
    pseudo = ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme))
    return asked + [(name, said, False) for name, said in pseudo if said is not None]


def _write_header(name: str, said: StringMatch, written: Any, *, is_inverted: bool) -> None:
    written.name = name
    written.invert_match = is_inverted
    if is_present(said):
        written.present_match = True
        return
    write_string(said, written.string_match)
    # "Without x: 1" holds for a request that has no x at all; Envoy alone would let the match fail.
    written.treat_missing_header_as_empty = is_inverted
