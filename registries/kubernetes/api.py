"""What is asked of an API server, and how it says no. No I/O: ``client.py`` has that.

The server's refusals differ in what has to happen next, so each is a type of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Final, Protocol

from mesh.errors import MeshError, Misconfigured, Unavailable

MESSAGE_CHARACTERS_MAX: Final = 300


_GRANTS: Final = {"/tokenreviews": "token-reviews", "/secrets": "gateway-secrets"}


class Gone(Unavailable):
    """What was asked for is older than what the server remembers (410): list again."""


class Unauthorized(Unavailable):
    """The credentials are not (any longer) accepted (401): read them again."""


class Interrupted(Unavailable):
    """A watch ended otherwise than it should; what it said until then holds."""


class Throttled(Unavailable):
    """The server has too much to do (429): come back after :attr:`after`."""

    def __init__(self, message: str, *, after: timedelta) -> None:
        super().__init__(message)
        self.after = after


class Api(Protocol):
    """The two questions of a reflector. Both raise what :func:`refusal` makes, or ``Unavailable``."""

    async def get(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        """One answer, as JSON."""

    def watch(
        self, path: str, query: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[bytes]]]:
        """Lines as they come, as many at once as there are. Entered when the server has agreed.

        :raises Interrupted: from the iterator, when the stream is cut or silent for too long.
        """


def refusal(status: int, said: object, asked: str, retry_after: str = "") -> MeshError:
    """What an answer other than success means.

    :param said: the body, a ``Status`` of the API if all is as it should be.
    :param asked: the question in our words, such as ``list of Pods``.
    """
    reason = f": {message}" if (message := _message(said)) else ""
    text = f"the API server answered {status} to the {asked}{reason}"
    match status:
        case 410:
            return Gone(text)
        case 401:
            return Unauthorized(text, hint="renew the credentials of the kubeconfig")
        case 403:
            grants = next((file for word, file in _GRANTS.items() if word in asked), "read-only")
            return Misconfigured(
                text,
                hint=f"grant what examples/kubernetes/{grants}.yaml grants to the account of the kubeconfig",
            )
        case 429:
            return Throttled(text, after=timedelta(seconds=_seconds(retry_after)))
        case _:
            return Unavailable(text)


def _message(said: object) -> str:
    if not isinstance(said, Mapping) or not isinstance(said.get("message"), str):
        return ""
    return str(said["message"])[:MESSAGE_CHARACTERS_MAX]


def _seconds(retry_after: str) -> int:
    """Never more than a minute: it is the server's word for when to try, and it may be wrong."""
    return min(int(retry_after), 60) if retry_after.isdecimal() and len(retry_after) < 10 else 1
