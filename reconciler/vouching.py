"""What commits say themselves about the objects that they remove.

A commit whose message has the line ``Meshwright-Allow-Removal: yes`` allows that what its own tree lacks is
gone. Asked are the commits since the accepted version of the unit, along first parents, and the newest that
says it counts: so a colleague's push a moment later does not take the word away, and the word does not cover
what that push removes. A merge speaks by its own message, not by those of the branch that it brings: the
tree of a branch lacks everything that was added elsewhere since.

The line may stand anywhere in the message, as where a Git host squashes several into one. After a force push
that leaves the accepted commit behind, only the tip is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Container, Mapping

from mesh.names import ObjectKey
from reconciler.git import Clone

COMMITS_MAX = 200
_ALLOWANCE = re.compile(r"^Meshwright-Allow-Removal:[ \t]*yes[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


def allows(message: str) -> bool:
    """Whether a commit of this message means what it removes."""
    return _ALLOWANCE.search(message) is not None


def vouched(
    clone: Clone,
    revision: str,
    accepted: Mapping[str, str],
    units: Mapping[str, Collection[ObjectKey]],
    contents: Callable[[str], Container[ObjectKey]],
) -> frozenset[ObjectKey]:
    """What of ``units``, all of it gone at ``revision``, was removed with a word.

    :param accepted: the commit of each unit's accepted version.
    :param contents: what the tree of a commit holds; asked for earlier commits than ``revision`` only.
    """
    trees: dict[str, Container[ObjectKey]] = {revision: frozenset()}
    found: set[ObjectKey] = set()
    for unit, gone in units.items():
        line = clone.line(revision, accepted[unit], COMMITS_MAX) if unit in accepted else ()
        speaker = next((commit for commit, message in line if allows(message)), None)
        if speaker is None:
            continue
        if speaker not in trees:
            trees[speaker] = contents(speaker)
        found |= {key for key in gone if key not in trees[speaker]}
    return frozenset(found)
