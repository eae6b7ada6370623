"""How the operations of an authorization rule become RBAC permissions: what is called."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mesh.kinds.authorization import Operation
from xds import envoy
from xds.translate.wildcards import regex, text

# Values, forbidden values, and what matches one of them.
_Said = tuple[tuple[str, ...], tuple[str, ...], Callable[[str], Any]]


def permission_of(operation: Operation, *, has_requests: bool) -> Any:
    """What is called: all that is said, each of them any of its values."""
    permission = envoy.message("envoy.config.rbac.v3.Permission")
    header = envoy.message("envoy.config.route.v3.HeaderMatcher")

    def headed(name: str, matcher: Any | None) -> Any:
        if matcher is None:
            return permission(header=header(name=name, present_match=True))
        return permission(header=header(name=name, string_match=matcher))

    about_requests: tuple[_Said, ...] = (
        (operation.hosts, operation.not_hosts, lambda value: headed(":authority", _host(value))),
        (
            operation.methods,
            operation.not_methods,
            lambda value: headed(":method", None if value == "*" else text(value)),
        ),
        (operation.paths, operation.not_paths, _path),
    )
    said: tuple[_Said, ...] = (
        *(about_requests if has_requests else ()),
        (operation.ports, operation.not_ports, lambda value: permission(destination_port=int(value))),
    )
    terms: list[Any] = []
    for values, forbidden, match in said:
        if values:
            terms.append(permission(or_rules=permission.Set(rules=[match(value) for value in values])))
        if forbidden:
            either = permission(or_rules=permission.Set(rules=[match(value) for value in forbidden]))
            terms.append(permission(not_rule=either))
    return permission(and_rules=permission.Set(rules=terms or [permission(any=True)]))


def _host(value: str) -> Any | None:
    """Case does not count, and a port may follow a name that has none. ``None``: any host.

    Unlike Istio, which wants ``example.com:*`` written out: forgotten in a DENY policy, that is a hole.
    """
    if value == "*":
        return None
    if value.endswith("*"):
        found = text(value)
        found.ignore_case = True
        return found
    name = ".*" + re.escape(value[1:]) if value.startswith("*") else re.escape(value)
    return regex(f"(?i){name}(:[0-9]+)?")


def _path(value: str) -> Any:
    permission = envoy.message("envoy.config.rbac.v3.Permission")
    if "{*}" in value or "{**}" in value:
        template = envoy.message("envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig")(
            path_template=value.replace("{*}", "*").replace("{**}", "**")
        )
        extension = envoy.message("envoy.config.core.v3.TypedExtensionConfig")(
            name="uri-template", typed_config=envoy.packed(template)
        )
        return permission(uri_template=extension)
    path = envoy.message("envoy.type.matcher.v3.PathMatcher")(path=text(value))
    return permission(url_path=path)
