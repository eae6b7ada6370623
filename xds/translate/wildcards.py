"""How Istio's texts with a star become matchers.

Istio, "AuthorizationPolicy": exact, or with one star at the start, at the end, or alone ("present").
"""

from __future__ import annotations

from typing import Any

from xds import envoy


def text(value: str) -> Any:
    """A ``StringMatcher``."""
    matcher = envoy.message("envoy.type.matcher.v3.StringMatcher")
    if value == "*":
        return regex(".+")
    if value.startswith("*"):
        return matcher(suffix=value[1:])
    if value.endswith("*"):
        return matcher(prefix=value[:-1])
    return matcher(exact=value)


def regex(pattern: str) -> Any:
    """A ``StringMatcher`` by a pattern that must match the whole text."""
    compiled = envoy.message("envoy.type.matcher.v3.RegexMatcher")(regex=pattern)
    return envoy.message("envoy.type.matcher.v3.StringMatcher")(safe_regex=compiled)
