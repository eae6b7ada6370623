"""How listener filters look: what is learnt of a connection before a filter chain is chosen."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from mesh.proxies import Interception
from xds import envoy

_PACKAGE = "envoy.extensions.filters.listener"
# The mark of the proxy's own traffic, which the capture rules let pass. Istio, ``TPROXY``.
_OWN_MARK = 1337
# Below the ten seconds after which clients commonly give up.
_SERVER_SPEAKS = timedelta(seconds=5)


def original_destination(interception: Interception) -> list[Any]:
    """Where a captured connection was going; under TPROXY also where it came from."""
    found = [_filter("original_dst", _message("original_dst.v3.OriginalDst")())]
    if interception is Interception.TPROXY:
        found.append(_filter("original_src", _message("original_src.v3.OriginalSrc")(mark=_OWN_MARK)))
    return found


def tls_inspector(*, except_ports: Sequence[int] = ()) -> Any:
    """Whether a connection begins with TLS, and what it offers."""
    return _filter("tls_inspector", _message("tls_inspector.v3.TlsInspector")(), except_ports)


def http_inspector(*, except_ports: Sequence[int] = ()) -> Any:
    """Whether a plain connection begins with HTTP."""
    return _filter("http_inspector", _message("http_inspector.v3.HttpInspector")(), except_ports)


def write_patience(listener: Any, timeout: timedelta, *, may_go_on: bool) -> None:
    """How long a listener waits for a client's first bytes; afterwards it takes them for plain ones.

    Zero, Istio's default (``protocolDetectionTimeout``), is for ever: a client that is slow or connects in
    advance must not be taken for one that lets the server speak first and sent where no request belongs.
    In Istio such a server is never heard on a port of unknown protocol (or of TCP under PERMISSIVE), unless
    callers use mutual TLS. Unlike Istio we go on after :data:`_SERVER_SPEAKS` where that is safe
    (``may_go_on``): plain bytes are welcome and lead to the same application as requests.
    """
    patience = _SERVER_SPEAKS if may_go_on and not timeout else timeout
    envoy.write_duration(listener.listener_filters_timeout, patience)
    listener.continue_on_listener_filters_timeout = True


def _filter(name: str, config: Any, except_ports: Sequence[int] = ()) -> Any:
    found = envoy.message("envoy.config.listener.v3.ListenerFilter")(
        name=f"envoy.filters.listener.{name}", typed_config=envoy.packed(config)
    )
    # On these ports nothing depends on the answer, and a server that speaks first would wait for it.
    if except_ports:
        found.filter_disabled.CopyFrom(_on_ports(sorted(set(except_ports))))
    return found


def _on_ports(ports: Sequence[int]) -> Any:
    predicate = envoy.message("envoy.config.listener.v3.ListenerFilterChainMatchPredicate")
    each = [predicate(destination_port_range={"start": port, "end": port + 1}) for port in ports]
    return each[0] if len(each) == 1 else predicate(or_match=predicate.MatchSet(rules=each))


@functools.cache
def _message(name: str) -> Any:
    return envoy.message(f"{_PACKAGE}.{name}")
