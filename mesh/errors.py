"""What can go wrong, sorted by what has to happen next.

A mistake in the user's config is not here: it is a :class:`mesh.problems.Problem`, a value.
The four below are raised; anything else that is raised is a bug of ours.
"""

from __future__ import annotations


class MeshError(Exception):
    """An error with a message (what, to what, found, expected) and a hint (what to do next)."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Unavailable(MeshError):
    """Something outside did not answer. Retried with back-off."""

    exit_code = 3


class Refused(MeshError):
    """A caller asked for too much. Answered no, once, with the reason."""

    exit_code = 1


class Misconfigured(MeshError):
    """The operator's settings cannot work. Nothing is retried until a person changes something."""

    exit_code = 2
