"""The inbound view: what one workload answers for, and whom it lets in."""

from __future__ import annotations

from mesh.proxies import Interception
from mesh.security import Authentication
from mesh.services import Inbound
from mesh.traffic import Rule, policy
from mesh.views import Authorization, InboundPort, InboundView, Settings


def inbound_port(answer: Inbound, rule: Rule | None, demands: Authentication) -> InboundPort:
    """One port of the workload. Of the service's traffic policy only the connection pool acts inbound."""
    return InboundPort(
        target=answer.target,
        port=answer.port,
        host=answer.service.host,
        mutual_tls=demands.of(answer.target),
        pool=policy(rule, answer.port.number, "").connection_pool,
        sources=demands.sources,
    )


def inbound_view(
    settings: Settings,
    interception: Interception,
    ports: tuple[InboundPort, ...],
    demands: Authentication,
    lets_in: Authorization,
    namespace: tuple[str],
) -> InboundView:
    return InboundView(
        settings=settings,
        interception=interception,
        ports=ports,
        mutual_tls=demands.mode,
        authorization=lets_in,
        namespace=namespace[0],
        undeclared=tuple(
            (port, mode)
            for port, mode in demands.by_port
            if mode is not demands.mode and port not in {declared.target for declared in ports}
        ),
    )
