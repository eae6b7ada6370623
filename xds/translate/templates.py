"""Templates: messages that are read once from a literal, then only copied.

Copying a template and setting fields is four times faster than building the message anew
(DESIGN D3). A template itself is never changed: the arena behind a message grows with every change
and never shrinks.
"""

from __future__ import annotations

from typing import Any


def fresh(template: Any) -> Any:
    """A copy of ``template`` that may be written to."""
    made = type(template)()
    made.CopyFrom(template)
    return made
