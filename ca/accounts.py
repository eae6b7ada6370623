"""ServiceAccount tokens of Kubernetes: of which cluster one is, and whose Pod it proves.

A token is judged by the API server of its own cluster (TokenReview), and shown to no other: who sees a token
can use it. So before that, what the token says of itself is read, without believing it: that it was made for
us (the audience), and by whom (the issuer). Its words decide to whom it is shown, and nothing else; who the
caller is comes from the review alone.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ca.callers import Caller, Unproven
from mesh.errors import Refused, Unavailable
from mesh.identity import SpiffeId

AUDIENCE = "meshwright-ca"
# A token bound to a Pod is between 1 and 2 kB.
TOKEN_SIZE_MAX = 8 * 1024
_REVIEW_SECONDS = 10
_ISSUER_SIZE_MAX = 512
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# What the API server writes: the namespace is a label, the account a name of labels (RFC 1123).
_SUBJECT = re.compile(rf"system:serviceaccount:{_LABEL}:(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")


class Reviewed(Protocol):
    """What a cluster says of a token that it takes for its own."""

    @property
    def namespace(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def pod(self) -> str:
        """The Pod that the token is bound to; empty when it is bound to none."""


class Judge(Protocol):
    """The API server of one cluster."""

    async def issuer(self) -> str:
        """What stands in its tokens as ``iss``; empty when that cannot be learnt."""

    async def review(self, token: str, audience: str) -> Reviewed:
        """:raises Refused: when the token is not good, or not for this audience.

        :raises Unavailable: when the cluster does not answer.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster whose Pods may enrol."""

    name: str
    judge: Judge
    trust_domain: str = ""
    """That of its workloads, where it is not the mesh's."""


ClustersNow = Callable[[], Sequence[Cluster]]
"""Asked anew for each token: registries come and go."""


async def pod_behind(
    token: str, clusters: Sequence[Cluster], trust_domain: str, *, named: str = ""
) -> Caller:
    """The Pod that a token proves.

    :param named: the cluster that the caller says it is of (Istio's ``clusterid``).
    :raises Unproven: when the token is not good, or nobody may be asked about it.
    """
    cluster = await _cluster_of(_issuer(token), clusters, named)
    if cluster.trust_domain not in {"", trust_domain}:
        raise Refused(
            f"the workloads of cluster {cluster.name!r} are of trust domain {cluster.trust_domain!r}, "
            f"this CA signs for {trust_domain!r}",
            hint="let the CA of that trust domain sign for them, or take trustDomain out of the registry",
        )
    reviewed = await _reviewed(token, cluster)
    if not reviewed.pod:
        raise Unproven(
            f"the token of ServiceAccount {reviewed.namespace}/{reviewed.account} is not bound to a Pod",
            hint="mount it as a projected volume of the Pod",
        )
    identity = SpiffeId(trust_domain, reviewed.namespace, reviewed.account)
    return Caller(identity, reviewed.pod, is_pod=True)


def _issuer(token: str) -> str:
    """What the token says of who made it. Nothing of it is proven here."""
    claims = _claims(token)
    audiences = claims.get("aud")
    if AUDIENCE not in (audiences if isinstance(audiences, list) else [audiences]):
        raise Unproven(
            f"the token is not for audience {AUDIENCE!r}",
            hint=f"project a ServiceAccount token with audience: {AUDIENCE}",
        )
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) and len(issuer) <= _ISSUER_SIZE_MAX else ""


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".") if len(token) <= TOKEN_SIZE_MAX else []
    body = parts[1] if len(parts) == 3 else ""
    try:
        claims = json.loads(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        claims = None
    subject = claims.get("sub") if isinstance(claims, dict) else None
    if not isinstance(claims, dict) or not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise Unproven(
            "the token is neither a join token nor a ServiceAccount token",
            hint="send one of them as authorization: Bearer TOKEN",
        ) from None
    return claims


async def _cluster_of(issuer: str, clusters: Sequence[Cluster], named: str) -> Cluster:
    """The one cluster that may see the token: that it names itself, or the only one of this issuer.

    An issuer that could not be learnt is taken on trust only where the choice is not ours: the caller has
    named the cluster, or there is one alone.
    """
    if not clusters:
        raise Unproven(
            "no cluster is configured whose ServiceAccount tokens could be reviewed",
            hint="add a registry of kind kubernetes to Mesh.spec.registries, or enrol with a join token",
        )
    asked = [cluster for cluster in clusters if cluster.name == named] if named else list(clusters)
    if not asked:
        raise Unproven(
            f"no cluster {named!r} is configured",
            hint=f"name one of {', '.join(sorted(cluster.name for cluster in clusters))} in clusterid",
        )
    issuers = await asyncio.gather(*(cluster.judge.issuer() for cluster in asked))
    fitting = [cluster for cluster, known in zip(asked, issuers, strict=True) if known == issuer]
    if issuers == [""]:
        fitting = asked
    match fitting:
        case [cluster]:
            return cluster
        case []:
            raise Unproven(
                f"the token's issuer {issuer!r} is that of no configured cluster",
                hint="enrol at the control plane that has the Pod's cluster among its registries",
            )
        case _:
            raise Unproven(
                f"{len(fitting)} clusters have the token's issuer {issuer!r}",
                hint="say which by the metadata clusterid: meshwright inject --cluster NAME",
            )


async def _reviewed(token: str, cluster: Cluster) -> Reviewed:
    try:
        async with asyncio.timeout(_REVIEW_SECONDS):
            return await cluster.judge.review(token, AUDIENCE)
    except TimeoutError:
        raise Unavailable(
            f"cluster {cluster.name!r} did not review a token within {_REVIEW_SECONDS} s", hint="try again"
        ) from None
    except Refused as error:
        raise Unproven(str(error), hint=error.hint) from error
