"""What a route does instead of, or before, sending a request on: redirect, reply, rewrite."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final, Literal

from mesh.kinds.header_rules import lines
from mesh.kinds.http_match import HTTPMatchRequest
from mesh.kinds.kind import Kind, Text, Unsigned
from mesh.kinds.rules import one_of, port, regex, regex_groups, said, wrong
from mesh.places import Place
from mesh.problems import Problem

BODY_BYTES_MAX: Final = 1024 * 1024


class HTTPRedirect(Kind):
    """Istio, "HTTPRedirect"."""

    uri: Text = ""
    authority: Text = ""
    port: Unsigned | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    scheme: Text = ""
    redirect_code: Unsigned = 0
    prefix_rewrite: Text = ""


class HTTPBody(Kind):
    """A body as text, or as base64 in ``bytes``. Istio, "HTTPBody"."""

    string: Text | None = None
    bytes: Text | None = None


class HTTPDirectResponse(Kind):
    """Istio, "HTTPDirectResponse"."""

    status: Unsigned
    body: HTTPBody | None = None


class RegexRewrite(Kind):
    """Istio, "RegexRewrite"."""

    match: Text = ""
    rewrite: Text = ""


class HTTPRewrite(Kind):
    """Istio, "HTTPRewrite"."""

    uri: Text = ""
    authority: Text = ""
    uri_regex_rewrite: RegexRewrite | None = None


def check_redirect(
    redirect: HTTPRedirect, of: tuple[HTTPMatchRequest, ...], where: Place, at: str
) -> Iterator[Problem]:
    if redirect.uri and redirect.prefix_rewrite:
        yield from wrong(where, at, "expected only one of uri, prefixRewrite")
    if redirect.prefix_rewrite and any(match.uri and match.uri.prefix is None for match in of):
        message = "needs every match of the route's uri to be a prefix"
        yield from wrong(where, f"{at}.prefixRewrite", message)
    yield from one_of(where, at, said(port=redirect.port, derivePort=redirect.derive_port))
    if not any((redirect.uri, redirect.prefix_rewrite, redirect.authority, redirect.scheme)) and not said(
        port=redirect.port, derivePort=redirect.derive_port
    ):
        yield from wrong(where, at, "expected at least one of uri, prefixRewrite, authority, scheme, port")
    if redirect.redirect_code not in {0, 301, 302, 303, 307, 308}:
        message = f"expected one of 301, 302, 303, 307, 308, found {redirect.redirect_code}"
        yield from wrong(where, f"{at}.redirectCode", message)
    if redirect.scheme not in {"", "http", "https"}:
        yield from wrong(where, f"{at}.scheme", f"expected http or https, found {redirect.scheme!r}")
    if redirect.port:
        yield from wrong(where, f"{at}.port", port(redirect.port))
    yield from lines(
        where, at, uri=redirect.uri, authority=redirect.authority, prefixRewrite=redirect.prefix_rewrite
    )


def check_direct_response(response: HTTPDirectResponse, where: Place, at: str) -> Iterator[Problem]:
    yield from wrong(where, f"{at}.status", http_status(response.status))
    if response.body is not None:
        yield from one_of(where, f"{at}.body", said(string=response.body.string, bytes=response.body.bytes))
        yield from _body(response.body, where, f"{at}.body")


def content(body: HTTPBody) -> bytes:
    """What is sent. Either alphabet of base64 will do, padded or not: so protobuf's JSON reads ``bytes``.

    :raises binascii.Error: when it is none of them.
    """
    if body.bytes is None:
        return (body.string or "").encode()
    standard = body.bytes.translate(_STANDARD).rstrip("=").encode()
    return base64.b64decode(standard + b"=" * (-len(standard) % 4), validate=True)


_STANDARD = str.maketrans("-_", "+/", "\r\n")


def _body(body: HTTPBody, where: Place, at: str) -> Iterator[Problem]:
    try:
        size = len(content(body))
    except binascii.Error:
        yield from wrong(where, f"{at}.bytes", "not base64", "write text into 'string' instead")
        return
    if size > BODY_BYTES_MAX:
        yield from wrong(where, at, f"expected at most {BODY_BYTES_MAX} bytes, found {size}")


def http_status(status: int) -> str:
    return "" if 200 <= status <= 599 else f"expected an HTTP status from 200 to 599, found {status}"


def check_rewrite(rewrite: HTTPRewrite, where: Place, at: str) -> Iterator[Problem]:
    pattern = rewrite.uri_regex_rewrite
    if rewrite.uri and pattern is not None:
        yield from wrong(where, at, "expected only one of uri, uriRegexRewrite")
    if not rewrite.uri and pattern is None and not rewrite.authority:
        yield from wrong(where, at, "expected at least one of uri, uriRegexRewrite, authority")
    if pattern is not None:
        if not pattern.match or not pattern.rewrite:
            yield from wrong(where, f"{at}.uriRegexRewrite", "needs both match and rewrite")
        else:
            yield from wrong(where, f"{at}.uriRegexRewrite.match", regex(pattern.match))
            yield from wrong(where, f"{at}.uriRegexRewrite.rewrite", _substitution(pattern))
        yield from lines(where, f"{at}.uriRegexRewrite", rewrite=pattern.rewrite)
    yield from lines(where, at, uri=rewrite.uri, authority=rewrite.authority)


def _substitution(pattern: RegexRewrite) -> str:
    """RE2's: a backslash stands before the number of a group, or before another one."""
    known = regex_groups(pattern.match)
    for escaped in _ESCAPED.findall(pattern.rewrite):
        if escaped.isdecimal() and int(escaped) > known:
            groups = "1 group" if known == 1 else f"{known} groups"
            return f"'\\{escaped}' is not in the match, which has {groups}"
        if not escaped.isdecimal() and escaped != "\\":
            return f"expected a digit or a backslash after each backslash, found {pattern.rewrite!r}"
    return ""


# What follows each backslash; nothing at the end.
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL | re.ASCII)
