"""How a listener looks before its filters: its address, and whether it is really bound."""

from __future__ import annotations

from typing import Any

from xds import envoy, names
from xds.translate import tcp_filters

EVERYWHERE = "0.0.0.0"  # noqa: S104  capture reaches the proxy at any address of the machine


def bare_listener(name: str, address: str, port: int, *, direction: str, is_bound: bool = True) -> Any:
    """A listener to which filter chains are added.

    A bound one has its port for itself: with ``SO_REUSEPORT``, Envoy's default, a second proxy on the
    same address would be accepted and take half of the connections, instead of being refused and seen.
    """
    listener = envoy.message("envoy.config.listener.v3.Listener")(name=name, traffic_direction=direction)
    listener.address.socket_address.address = address
    listener.address.socket_address.port_value = port
    if is_bound:
        listener.enable_reuse_port.value = False
    else:
        listener.bind_to_port.value = False
    return listener


def chain(name: str, *filters: Any) -> Any:
    """A filter chain that takes every connection until it is given a match."""
    return envoy.message("envoy.config.listener.v3.FilterChain")(name=name, filters=filters)


def loop_stop(listener: str, port: int) -> Any:
    """Ends connections to the capturing port itself, which would be captured again for ever."""
    stopped = chain(f"{listener}-blackhole", tcp_filters.forward(names.BLACK_HOLE_CLUSTER, None))
    stopped.filter_chain_match.destination_port.value = port
    return stopped
