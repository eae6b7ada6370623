"""How the requests for a service are to be shared among registries, and whether replies are shared so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.demo.hybrid.cast import CONSUL, KUBERNETES
from reconciler.demo.hybrid.shopper import Reply
from reconciler.demo.statistics import bounds
from reconciler.demo.workloads import TRUST_DOMAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The share of Consul's instances, in percent; Pods get the rest."""

    service: str
    consul: int
    requests: int

    def __str__(self) -> str:
        if self.consul in (0, 100):
            return f"{self.service}: {KUBERNETES if not self.consul else CONSUL} alone"
        low_high = bounds(self.requests, self.consul / 100)
        return (
            f"{self.service}: {CONSUL} {self.consul} %, {KUBERNETES} {100 - self.consul} %"
            f" ({CONSUL} {low_high.low} to {low_high.high} of {self.requests})"
        )

    def observed(self, replies: Sequence[Reply], registries: Mapping[str, str]) -> str:
        """What came back, in the words of the expectation."""
        counts = Counter(registries[reply.instance] for reply in replies if not reply.failure)
        shares = ", ".join(f"{registry} {count}" for registry, count in sorted(counts.items()))
        return f"{self.service}: {shares or 'none'} of {len(replies)}{troubles(replies)}"

    def holds(self, replies: Sequence[Reply], registries: Mapping[str, str]) -> bool:
        """Whether they are shared so, but for chance, and every caller was known by its certificate."""
        if any(wrong(reply, self.service) for reply in replies):
            return False
        counts = Counter(registries[reply.instance] for reply in replies)
        return counts[CONSUL] in bounds(len(replies), self.consul / 100)


def wrong(reply: Reply, service: str) -> str:
    """What is wrong with a reply: it failed, or not both sides were known by their certificates."""
    if reply.failure:
        return reply.failure
    said = dict(part.partition("=")[::2] for part in reply.caller.split(";"))
    if said.get("URI") != identity("front"):
        return f"{reply.instance} was asked by {said.get('URI') or 'nobody'}"
    if said.get("By") != identity(service):
        return f"{reply.instance} answered as {said.get('By') or 'nobody'}"
    return ""


def identity(account: str) -> str:
    """What a certificate of the shop says."""
    return f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/{account}"


def troubles(replies: Sequence[Reply]) -> str:
    """What failed, and how often; nothing when nothing did."""
    failed = Counter(reply.failure for reply in replies if reply.failure)
    return "".join(f"; {count} failed: {why}" for why, count in failed.items())
