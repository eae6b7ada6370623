"""Istio's rules for names, hosts, ports and durations, shared by the checks of the kinds.

Each rule says what is wrong with a value, or nothing. They follow Istio's own validators
(``pkg/config/validation``), which also decides what is *not* checked: a folder that Istio takes
is taken here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Final

import re2

from mesh.names import is_ip
from mesh.places import Place, spell, steps
from mesh.problems import Problem

# Istio approximates Envoy's program-size limit by length ("validateStringRegexp").
REGEX_CHARACTERS_MAX: Final = 1024
UNIX_PREFIX: Final = "unix://"

HTTP_PROTOCOLS: Final = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"})
TLS_PROTOCOLS: Final = frozenset({"HTTPS", "TLS"})
PROTOCOLS: Final = HTTP_PROTOCOLS | TLS_PROTOCOLS | {"TCP", "UDP", "MONGO", "REDIS", "MYSQL"}

_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.IGNORECASE)
_WILDCARD_LABEL = re.compile(r"(?:\*|(?:\*|\*-)?[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)", re.IGNORECASE)
_LABEL_KEY = re.compile(
    r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9.]{0,251}[a-zA-Z0-9])?/)?[a-zA-Z0-9](?:[-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?"
)
_LABEL_VALUE = re.compile(r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?)?")

_QUIET = re2.Options()
# google-re2 writes a rejected pattern to stderr from C++ otherwise.
_QUIET.log_errors = False

Rule = Callable[[str], str]


def wrong(place: Place, path: str, message: str, hint: str = "") -> Iterator[Problem]:
    """A schema problem at a path, when there is something to say."""
    if message:
        yield place.problem("IST0106", path, message, hint)


def each(place: Place, path: str, values: Sequence[str], rule: Rule) -> Iterator[Problem]:
    """The rule over a list."""
    for index, value in enumerate(values):
        yield from wrong(place, f"{path}[{index}]", rule(value))


def below(path: str, key: str) -> str:
    """The path of a map's entry, quoted when need be."""
    return spell((*steps(path), key))


def dns_label(text: str) -> str:
    return "" if _DNS_LABEL.fullmatch(text) else f"not a DNS label: {text!r}"


def port(number: int) -> str:
    return "" if 1 <= number <= 65535 else f"expected a port from 1 to 65535, found {number}"


def port_name(text: str) -> str:
    return "" if _DNS_LABEL.fullmatch(text) else f"not a port name: {text!r}"


def protocol(text: str) -> str:
    """The name of a protocol; empty means that it is to be detected."""
    if not text or text.upper() in PROTOCOLS:
        return ""
    return f"not a known protocol: {text!r}"


def domain(text: str) -> str:
    """A full or short host name, without wildcard. Istio, ``ValidateFQDN``."""
    return _domain(text, _DNS_LABEL)


def wildcard_domain(text: str) -> str:
    """A host name whose first label may be or begin with ``*``. Istio, ``ValidateWildcardDomain``."""
    head, dot, rest = text.partition(".")
    if "*" not in head:
        return _domain(text, _DNS_LABEL)
    if not _WILDCARD_LABEL.fullmatch(head):
        return f"not a host name: {text!r} (the wildcard stands first in its label)"
    return _domain(rest, _DNS_LABEL, text) if dot else ""


def _domain(text: str, label: re.Pattern[str], whole: str = "") -> str:
    whole = whole or text
    if not text or len(whole) > 255:
        return f"not a host name: {whole!r} (expected 1 to 255 characters)"
    labels = text.removesuffix(".").split(".")
    if labels[-1].isdigit():
        return f"not a host name: {whole!r} (its last label is a number)"
    for part in labels:
        if not label.fullmatch(part):
            return f"not a host name: {whole!r} (label {part!r})"
    return ""


def host_or_ip(text: str) -> str:
    return "" if is_ip(text) or not wildcard_domain(text) else f"not a host name or address: {text!r}"


def ip_address(text: str) -> str:
    return "" if is_ip(text) else f"not an IP address: {text!r}"


def ip_block(text: str) -> str:
    """An address or a CIDR; bits below the mask are ignored, as in Go."""
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return f"not an IP address or CIDR: {text!r}"
    return ""


def unix_path(text: str) -> str:
    """What follows ``unix://``: an absolute path of a file, or ``@`` and a name."""
    path = text.removeprefix(UNIX_PREFIX)
    if path.startswith("@") or (path.startswith("/") and not path.endswith("/")):
        return ""
    return f"not an absolute path of a socket: {text!r}"


def duration(value: timedelta) -> str:
    """At least a millisecond and whole milliseconds. Istio, ``ValidateDuration``."""
    if value < timedelta(milliseconds=1):
        return "expected a duration of at least 1ms"
    return "expected a duration in whole milliseconds" if value % timedelta(milliseconds=1) else ""


def durations(place: Place, path: str, **values: timedelta | None) -> Iterator[Problem]:
    """The rule over fields, named as in documents; what is not said is fine."""
    for name, value in values.items():
        if value is not None:
            yield from wrong(place, f"{path}.{name}", duration(value))


@cache
def regex(text: str) -> str:
    """Compiled as Envoy will, with RE2."""
    if not text:
        return "expected a regular expression, found nothing"
    if len(text) > REGEX_CHARACTERS_MAX:
        found = f"found {len(text)}"
        return f"expected a regular expression of at most {REGEX_CHARACTERS_MAX} characters, {found}"
    try:
        re2.compile(text, options=_QUIET)
    except re2.error as error:
        reason = error.args[0]
        return (
            f"not a regular expression: {text!r} ({reason.decode() if isinstance(reason, bytes) else reason})"
        )
    return ""


def regex_groups(text: str) -> int:
    """How many groups a regular expression has; 0 where it is none."""
    return 0 if regex(text) else int(re2.compile(text, options=_QUIET).groups)


def label_key(text: str) -> str:
    return "" if _LABEL_KEY.fullmatch(text) else f"not a label's key: {text!r}"


def label_value(text: str) -> str:
    return "" if _LABEL_VALUE.fullmatch(text) else f"not a label's value: {text!r}"


def label_pairs(place: Place, path: str, labels: Mapping[str, str]) -> Iterator[Problem]:
    """Kubernetes' syntax of labels. Istio, ``labels.Instance.Validate``."""
    for key, value in labels.items():
        yield from wrong(place, below(path, key), label_key(key))
        yield from wrong(place, below(path, key), label_value(value))


def selector(place: Place, path: str, labels: Mapping[str, str], scope: str) -> Iterator[Problem]:
    """Labels of a selector that is there. Istio, ``validateWorkloadSelector``.

    :param scope: what an empty one selects, in the warning.
    """
    for key, value in labels.items():
        if not key:
            yield place.problem("IST0106", path, f"expected a label's key, found nothing (value {value!r})")
        if "*" in key or "*" in value:
            message = f"wildcards are not supported in selectors: {key}={value}"
            yield place.problem("IST0106", below(path, key), message)
    if not labels:
        yield place.problem("IST0133", path, f"an empty selector: it selects {scope}")


def export_to(
    place: Place, namespace: str, exports: Sequence[str], *, nobody: bool = False
) -> Iterator[Problem]:
    """Namespaces, ``.``, ``*`` alone, or ``~`` alone where ``nobody`` may see it."""
    seen: set[str] = set()
    for index, written in enumerate(exports):
        path = f"spec.exportTo[{index}]"
        meant = namespace if written == "." else written
        if meant in seen:
            yield place.problem("IST0106", path, f"{written!r} is exported to already")
        elif written == "~" and not nobody:
            yield place.problem("IST0106", path, "'~' (nobody) is for services only")
        elif written not in {".", "*", "~"}:
            yield from wrong(place, path, dns_label(written))
        seen.add(meant)
    for alone, meaning in (("*", "everybody"), ("~", "nobody")):
        if alone in seen and len(exports) > 1:
            message = f"{alone!r} ({meaning}) stands alone, found {len(exports)} entries"
            yield place.problem("IST0106", "spec.exportTo", message)


def one_of(place: Place, path: str, found: Sequence[str]) -> Iterator[Problem]:
    """Protobuf's ``oneof``: at most one of some fields. ``found`` are those that are said."""
    if len(found) > 1:
        yield place.problem("IST0106", path, f"expected only one of {', '.join(found)}")


def said(**values: object) -> list[str]:
    """The names, as in documents, of the fields that are said."""
    return [name for name, value in values.items() if value is not None]


def deprecated(place: Place, path: str, instead: str) -> Iterator[Problem]:
    yield place.problem("IST0002", path, f"deprecated: use {instead} instead")
