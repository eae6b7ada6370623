"""What a check over several objects has found: an object, a path in it, and words."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.names import ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem without its file and line, which belong to a revision."""

    code: str
    object: ObjectKey
    path: str
    message: str
    hint: str = ""


def listed(words: list[str], limit: int = 8) -> str:
    """``v1, v2, v3``; a long list is cut."""
    shown = ", ".join(words[:limit])
    return f"{shown} and {len(words) - limit} more" if len(words) > limit else shown
