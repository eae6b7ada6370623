"""Routes that can never be reached. Istio, ``analyzeUnreachableHTTPRules``."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.analysis.finding import Finding
from mesh.analysis.hosts import KnownHosts
from mesh.config import Config
from mesh.kinds.virtual_service import HTTPMatchRequest, HTTPRoute
from mesh.names import ObjectKey

_EVERYTHING = HTTPMatchRequest()


def check(config: Config, _hosts: KnownHosts) -> Iterator[Finding]:
    for service in config.of("VirtualService"):
        yield from _unreachable(service.key, service.spec.http)


def _unreachable(key: ObjectKey, routes: tuple[HTTPRoute, ...]) -> Iterator[Finding]:
    """After a route that takes everything come only routes that get nothing."""
    taken: dict[HTTPMatchRequest, int] = {}
    takes_all: int | None = None
    for index, route in enumerate(routes):
        path = f"spec.http[{index}]"
        if takes_all is not None:
            message = f"never reached: http[{takes_all}] matches everything"
            yield Finding(
                code="IST0130", object=key, path=path, message=message, hint="put it before that route"
            )
            continue
        repeated = 0
        for number, match in enumerate(route.match):
            named = match.model_copy(update={"name": ""})
            if named in taken:
                repeated += 1
                message = f"the same match as in http[{taken[named]}], which takes it first"
                yield Finding(code="IST0131", object=key, path=f"{path}.match[{number}]", message=message)
            else:
                taken[named] = index
        if route.match and repeated == len(route.match):
            message = "never reached: every match of it is taken by earlier routes"
            yield Finding(code="IST0130", object=key, path=path, message=message)
        if not route.match or _EVERYTHING in taken:
            takes_all = index
