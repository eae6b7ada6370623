"""Authorization policies in the words of their rules."""

from __future__ import annotations

from typing import Any

from mesh.config import ConfigObject
from mesh.kinds.authorization import AuthorizationPolicy
from mesh.labels import NO_LABELS, Labels
from mesh.names import ObjectKey

_ABOUT_CALLERS = ("rincipals", "amespaces", "ccounts", "locks")


def a_rule(**written: Any) -> dict[str, Any]:
    """``principals``, ``namespaces`` … make a source; ``paths``, ``methods`` … an operation."""
    source = {name: value for name, value in written.items() if name.endswith(_ABOUT_CALLERS)}
    operation = {name: value for name, value in written.items() if name not in source}
    rule: dict[str, Any] = {}
    if source:
        rule["from"] = [{"source": source}]
    if operation:
        rule["to"] = [{"operation": operation}]
    return rule


def a_policy(
    *rules: dict[str, Any], name: str = "viewers", annotations: Labels = NO_LABELS
) -> ConfigObject[AuthorizationPolicy]:
    return ConfigObject(
        key=ObjectKey("AuthorizationPolicy", "bookinfo", name),
        spec=AuthorizationPolicy.model_validate({"rules": list(rules)}),
        digest=name.encode(),
        annotations=annotations,
    )
