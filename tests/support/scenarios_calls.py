"""The calls of a scenario: what is asked, and what must come of it.

A call goes ``through`` a sidecar, as an application that is told of an HTTP proxy, or to an address
(``at``), as anybody. ``caller`` makes it with mutual TLS as that account of the mesh; ``tls`` with the name
it asks for, and then the certificate that is shown must be for that name.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.support.envoys import Answer
from tests.support.scenarios_machines import Standing
from tests.support.served import becomes

CLOSED = "closed"
"""The status of a call that was cut off instead of answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must come of a call; what is not said is not looked at.

    ``by``: the application that answers, or how often each may at least and at most (of ``times`` calls).
    ``applications``: how many of them answer in all. ``headers`` are the answer's; ``seen`` is what the
    application was asked (``null``: no such header). ``seconds``: at least, at most. ``mirrored``: who gets
    the same request as well. ``statuses``: how often each, of several calls.
    """

    status: int | str = 200
    statuses: Mapping[int, list[int]] = field(default_factory=dict)
    by: str | Mapping[str, list[int]] = ""
    applications: int = 0
    headers: Mapping[str, str | None] = field(default_factory=dict)
    seen: Mapping[str, Any] = field(default_factory=dict)
    body: str | None = None
    seconds: tuple[float, float] = (0, 60)
    mirrored: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request (``GET http://host:port/path``), or one line to an application without HTTP."""

    call: str
    """What is shown, in a sentence."""
    expect: Expected
    request: str = ""
    line: str = ""
    through: str = ""
    at: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    caller: str = ""
    tls: str = ""
    times: int = 1
    failing: Mapping[str, int] = field(default_factory=dict)
    """Applications that answer so many of their next requests with 503."""
    pausing: Mapping[str, float] = field(default_factory=dict)
    """Applications that think for so many seconds."""


def calls(file: Path) -> list[Call]:
    written = yaml.safe_load(file.read_text())
    return [Call(**{**one, "expect": Expected(**one["expect"])}) for one in written]


def wrong(call: Call, house: Standing) -> Iterator[str]:
    """Everything that did not come as expected."""
    for name, count in call.failing.items():
        house.applications[name].failures = count
    for name, seconds in call.pausing.items():
        house.applications[name].pause = seconds
    began = time.monotonic()
    answers = [_made(call, house) for _ in range(call.times)]
    took = time.monotonic() - began
    for name in call.pausing:
        house.applications[name].pause = 0
    least, most = call.expect.seconds
    for found in _differences(call, answers, house):
        yield f"{call.call}: {found}"
    if not least <= took <= most:
        yield f"{call.call}: took {took:.2f} s, not {least} to {most}"


def _differences(call: Call, answers: list[Answer], house: Standing) -> Iterator[str]:
    expect = call.expect
    wanted: Mapping[Any, list[int]] = expect.statuses or {expect.status: [call.times, call.times]}
    yield from _shares("status", wanted, (answer.status or CLOSED for answer in answers))
    if expect.by:
        shares = {expect.by: [call.times, call.times]} if isinstance(expect.by, str) else expect.by
        yield from _shares("answers by", shares, (_by(answer) for answer in answers if answer.status == 200))
    last = answers[-1]
    if expect.applications and len(found := {_by(answer) for answer in answers}) != expect.applications:
        yield f"{len(found)} applications answered ({found}), not {expect.applications}"
    if expect.body is not None and expect.body not in last.text:
        yield f"body {last.text!r}, not {expect.body!r}"
    for name, value in expect.headers.items():
        if not _fits(last.headers.get(name), value):
            yield f"header {name}: {last.headers.get(name)!r}, not {value!r}"
    if expect.seen:
        yield from _unseen(expect.seen, last)
    if expect.mirrored:
        asked = house.applications[expect.mirrored].asked
        if not becomes(lambda: any(urlsplit(call.request.split()[1]).path == one["path"] for one in asked)):
            yield f"{expect.mirrored} was asked {asked}"


def _shares(what: str, wanted: Mapping[Any, list[int]], came: Iterable[Any]) -> Iterator[str]:
    counted = Counter(came)
    is_in_bounds = all(least <= counted[one] <= most for one, (least, most) in wanted.items())
    if not is_in_bounds or counted.keys() - wanted.keys():
        yield f"{what} {dict(counted)}, not {dict(wanted)}"


def _by(answer: Answer) -> str:
    return str(answer.json["application"]) if answer.text.startswith("{") else answer.text.partition(":")[0]


def _unseen(wanted: Mapping[str, Any], answer: Answer) -> Iterator[str]:
    if not answer.text.startswith("{"):
        yield f"no application was asked: {answer.text!r}"
        return
    asked = answer.json
    for key, value in wanted.items():
        if key != "headers" and asked[key] != value:
            yield f"the application saw {key} {asked[key]!r}, not {value!r}"
    for name, value in wanted.get("headers", {}).items():
        if not _fits(asked["headers"].get(name), value):
            yield f"the application saw {name}: {asked['headers'].get(name)!r}, not {value!r}"


def _fits(value: str | None, wanted: str | None) -> bool:
    """Whether a header is as wanted, with ``*`` for anything."""
    if value is None or wanted is None:
        return value is wanted
    return re.fullmatch(re.escape(wanted).replace(r"\*", ".*"), value) is not None


def _made(call: Call, house: Standing) -> Answer:
    try:
        return _said(call, house) if call.line else _asked(call, house)
    except (ssl.SSLCertVerificationError, ConnectionRefusedError, TimeoutError):
        raise  # nobody was there, or it was the caller who would not go on
    except OSError as error:
        return Answer(0, {}, str(error))


def _asked(call: Call, house: Standing) -> Answer:
    method, url = call.request.split()
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection("unused", timeout=10)
    connection.sock = _connected(call, house)
    try:
        # A proxy is asked for the whole URL, everybody else for the path (RFC 9112, 3.2).
        target = url if call.through else path
        connection.request(method, target, headers={"Host": parts.netloc, **call.headers})
        response = connection.getresponse()
        headers = {key.lower(): value for key, value in response.getheaders()}
        return Answer(response.status, headers, response.read().decode())
    finally:
        connection.close()


def _said(call: Call, house: Standing) -> Answer:
    with _connected(call, house) as connection:
        connection.sendall(call.line.encode() + b"\n")
        received = connection.makefile("rb").readline().decode()
    return Answer(200 if received else 0, {}, received)


def _connected(call: Call, house: Standing) -> socket.socket:
    if call.through:
        address = house.http_proxy(call.through)
    else:
        host, _, port = call.at.rpartition(":")
        address = (house.place.network(host), int(port))
    plain = socket.create_connection(address, timeout=10)
    context, name = _context(call, house)
    return plain if context is None else context.wrap_socket(plain, server_hostname=name)


def _context(call: Call, house: Standing) -> tuple[ssl.SSLContext | None, str]:
    if call.caller:
        namespace, _, account = call.caller.partition("/")
        offers = ("istio",) if call.line else ("istio-http/1.1", "istio", "http/1.1")
        return house.callers.context(account, namespace, offers), "mesh"
    if call.tls:
        return ssl.create_default_context(cafile=str(house.authority)), call.tls
    return None, ""


def all_wrong(file: Path, house: Standing) -> list[str]:
    """Everything that did not come as the calls of a file expect."""
    return [found for call in calls(file) for found in wrong(call, house)]
