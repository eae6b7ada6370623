"""How edits of headers look, and the one edit that is none: the host.

``set`` overwrites, ``add`` appends, ``remove`` comes first in Envoy. Pseudo headers cannot be edited;
setting ``Host`` or ``:authority`` rewrites the host instead. Istio, ``TranslateHeadersOperations``.
"""

from __future__ import annotations

from typing import Any

from mesh.kinds.virtual_service import HeaderOperations, Headers

_NONE = HeaderOperations()


def write(edits: Headers | None, written: Any) -> None:
    """Add the edits to an Envoy ``Route`` or ``ClusterWeight``, after those already there."""
    if edits is None:
        return
    for direction, said in (("request", edits.request), ("response", edits.response)):
        if said is None:
            continue
        added = getattr(written, f"{direction}_headers_to_add")
        for action, pairs in (
            ("OVERWRITE_IF_EXISTS_OR_ADD", said.set),
            ("APPEND_IF_EXISTS_OR_ADD", said.add),
        ):
            for key, value in pairs.items():
                if not _is_pseudo(key):
                    option = added.add()
                    option.header.key, option.header.value = key, value
                    option.append_action = option.HeaderAppendAction.Value(action)
        removed = getattr(written, f"{direction}_headers_to_remove")
        removed.extend(key for key in said.remove if not _is_pseudo(key))


def authority(edits: Headers | None) -> str:
    """The host that requests shall carry, or empty. ``set`` wins over ``add``."""
    said = (edits and edits.request) or _NONE
    for pairs in (said.set, said.add):
        for key, value in pairs.items():
            if key.lower() in ("host", ":authority"):
                return value
    return ""


def _is_pseudo(key: str) -> bool:
    return key.startswith(":") or key.lower() == "host"
