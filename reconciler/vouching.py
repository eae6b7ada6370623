"""What commits say themselves about the objects that they remove.

A commit whose message has the line ``Meshwright-Allow-Removal: yes`` allows what it removes itself: what its
first parent has and it has not. Asked are the commits since the accepted version of the unit, along first
parents; of each object that is gone, the commit that removed it last decides. So a colleague's push a moment
later does not take the word away, and nobody's word covers what somebody else removed, before or after: the
repository has many tenants. Whoever stands by a removal that is made already puts it back and makes it again,
or leaves it to the operator (``meshwright registries release git``).

A merge speaks by its own message, for what it takes from the branch it is made on, not by the messages of the
branch that it brings. The line may stand anywhere in the message, as where a Git host squashes several into
one. After a force push that leaves the accepted commit behind, only the tip is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Container, Mapping

from mesh.names import ObjectKey
from reconciler.git import Clone

# Each of them may have to be read as a whole. Who pushes more at once waits, as one who says nothing.
COMMITS_MAX = 50
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
    :param contents: what the tree of a commit holds.
    """
    trees: dict[str, Container[ObjectKey]] = {}
    found: set[ObjectKey] = set()
    for unit, gone in units.items():
        line = clone.line(revision, accepted[unit], COMMITS_MAX) if unit in accepted else ()
        speaks = [allows(message) for _, message in line]
        # None of what is left is in the commit that is looked at: what its parent has, it has removed.
        left = set(gone)
        for number, (commit, _) in enumerate(line):
            parent = clone.parent(commit)
            if parent is None or not left or not any(speaks[number:]):
                break
            if parent not in trees:
                trees[parent] = contents(parent)
            removed = {key for key in left if key in trees[parent]}
            left -= removed
            found |= removed if speaks[number] else set()
    return frozenset(found)
