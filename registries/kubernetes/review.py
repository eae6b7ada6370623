"""Whose token is this? Asked of the cluster that issued it (Kubernetes, TokenReview).

The token of a Pod is proof of its namespace and account when the API server says so for *our* audience: one
that was made for somebody else is refused, however valid (it would be a stolen one).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mesh.errors import Refused, Unavailable
from registries.kubernetes.access import Access, Credentials
from registries.kubernetes.api import Unauthorized
from registries.kubernetes.client import Client, Limits

PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
TOKEN_CHARACTERS_MAX: Final = 16 * 1024
_ACCOUNT: Final = "system:serviceaccount:"
_POD: Final = "authentication.kubernetes.io/pod-name"
_UID: Final = "authentication.kubernetes.io/pod-uid"
_LIMITS: Final = Limits(answer=10, answer_bytes=1024 * 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """Who a token speaks for. ``pod`` and ``uid`` are empty when it is not bound to a Pod."""

    namespace: str
    account: str
    pod: str
    uid: str


class TokenReviews:
    """Asks one cluster. A connection is made for each question: Pods enrol seldom, and credentials rotate."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def review(self, token: str, audience: str) -> Reviewed:
        """Who the token speaks for.

        :raises Refused: when the cluster does not know it, or it is not for ``audience``.
        :raises Unavailable: when the cluster cannot be asked.
        :raises Misconfigured: when our own account may not ask.
        """
        if not token or len(token) > TOKEN_CHARACTERS_MAX or not token.isascii() or not token.isprintable():
            raise _refused("it is no token")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        try:
            said = await self._ask(await self._access.read(), body)
        except Unauthorized:
            said = await self._ask(await self._access.read(is_refused=True), body)
        status = said.get("status")
        if not isinstance(status, Mapping):
            raise Unavailable("the API server's TokenReview has no status")
        return _reviewed(status, audience)

    async def _ask(self, credentials: Credentials, body: Mapping[str, Any]) -> Mapping[str, Any]:
        async with await asyncio.to_thread(Client, credentials, _LIMITS) as client:
            return await client.post(PATH, body)


def _reviewed(status: Mapping[str, Any], audience: str) -> Reviewed:
    if status.get("authenticated") is not True:
        raise _refused("the cluster does not accept it")
    audiences = status.get("audiences")
    # A server that does not know audiences answers none, and then the token is for anybody: refused.
    if not isinstance(audiences, list) or audience not in audiences:
        raise _refused("it is for another audience")
    user = status.get("user")
    name = str(user.get("username", "")) if isinstance(user, Mapping) else ""
    namespace, colon, account = name.removeprefix(_ACCOUNT).partition(":")
    if not name.startswith(_ACCOUNT) or not (namespace and colon and account):
        raise _refused("it is not that of a ServiceAccount")
    extra = user.get("extra") if isinstance(user, Mapping) else None
    return Reviewed(namespace=namespace, account=account, pod=_extra(extra, _POD), uid=_extra(extra, _UID))


def _extra(extra: object, name: str) -> str:
    values = extra.get(name) if isinstance(extra, Mapping) else None
    return str(values[0]) if isinstance(values, list) and len(values) == 1 else ""


def _refused(reason: str) -> Refused:
    return Refused(
        f"the ServiceAccount token is refused: {reason}",
        hint="project a token with the audience of the mesh into the Pod, as meshwright inject does",
    )
