"""Parts of a document that are made from the code: between ``<!-- name -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
from collections.abc import Sequence


def marked(text: str, name: str) -> list[str]:
    """The lines of one part, without the empty ones around them."""
    (found,) = re.findall(_part(name), text, re.DOTALL)
    return str(found).strip("\n").split("\n")


def put(text: str, name: str, lines: Sequence[str]) -> str:
    """The text with other lines in that part."""
    made = "\n".join((f"<!-- {name} -->", *lines, "<!-- end -->"))
    return re.sub(_part(name), lambda _: made, text, flags=re.DOTALL)


def _part(name: str) -> str:
    return rf"<!-- {name} -->\n(.*?)<!-- end -->"
