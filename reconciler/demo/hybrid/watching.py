"""How a change is watched: by requests that run meanwhile, and by what proxies say that they have.

Every request must succeed, between two certificates of the mesh. Times begin before the push or the call;
when a proxy has something is what its Envoy says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from reconciler.demo.hybrid import patience
from reconciler.demo.hybrid.shopper import Reply, host
from reconciler.demo.hybrid.splits import Split, troubles, wrong
from reconciler.demo.hybrid.stage import Stage
from reconciler.demo.repository import Push
from reconciler.demo.workloads import Workload

SOME = 200
LIMIT = timedelta(seconds=20)
_BEAT = timedelta(milliseconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of a step."""

    observed: str
    ok: bool
    commit: str = "-"
    push_to_ack_ms: int | None = None
    measured_ms: Mapping[str, int] = field(default_factory=dict)


async def pushed(up: Stage, push: Push, splits: Iterable[Split], first_at_ms: int | None = None) -> Seen:
    """Wait until a push is live, ask, and compare; ``first_at_ms`` is when a request first followed it."""
    # A newcomer that is gone from its registry stays connected.
    connected = max((await up.control_plane.status()).connected, len(up.at_first))
    waited = await up.control_plane.until_live(push, connected)
    taken = [await up.admin.taken_at_ms(machine.workload) for machine in up.at_first]
    times = {
        "push_to_first_ack": min(taken) - push.began_at_ms,
        "push_to_last_ack": max(taken) - push.began_at_ms,
    }
    replies = [(split, await up.shopper.many(split.service, split.requests)) for split in splits]
    registries = up.cast.registries
    said = [split.observed(heard, registries) for split, heard in replies]
    said.append("proxies have it after {push_to_first_ack} to {push_to_last_ack} ms".format_map(times))
    if first_at_ms is not None:
        times["push_to_first_request"] = first_at_ms - push.began_at_ms
        said.append(f"the first request that follows after {times['push_to_first_request']} ms")
    return Seen(
        observed="; ".join(said),
        ok=all(split.holds(heard, registries) for split, heard in replies),
        commit=push.commit,
        push_to_ack_ms=waited,
        measured_ms=times,
    )


def beside(seen: Seen, heard: Mapping[str, Sequence[Reply]]) -> Seen:
    """What was seen, and whether all was well with the requests that ran meanwhile (by service)."""
    replies = [reply for all_ in heard.values() for reply in all_]
    is_well = not any(wrong(reply, service) for service, all_ in heard.items() for reply in all_)
    failed = sum(bool(reply.failure) for reply in replies)
    return replace(
        seen,
        observed=f"{seen.observed}; {failed} of {len(replies)} requests failed meanwhile{troubles(replies)}",
        ok=seen.ok and is_well,
    )


async def until_heard(up: Stage, replies: Sequence[Reply], holds: Callable[[Reply], bool]) -> int:
    """When the first such reply was there (UNIX milliseconds)."""
    looked_at = 0

    async def look() -> int | None:
        nonlocal looked_at
        newest, looked_at = replies[looked_at:], len(replies)
        return next((reply.at_ms for reply in newest if holds(reply)), None)

    awaited = "an answer from elsewhere"
    return await patience.until(awaited, look, up.shopper.clock, limit=LIMIT, beat=_BEAT)


async def arrives(up: Stage, service: str, one: Workload, call: Callable[[], Awaitable[None]]) -> Seen:
    """A call makes an instance one that is asked."""
    is_early = one.place in await up.admin.endpoints(up.client, host(service))
    async with up.shopper.asking((service,)) as heard:
        began = up.shopper.now_ms()
        await call()
        had = await up.admin.until(up.client, host(service), lambda known: one.place in known, LIMIT)
        first = await until_heard(up, heard[service], lambda reply: reply.instance == one.name)
        after = await up.shopper.many(service, SOME)
    early = "; it was so before the call" if is_early else ""
    seen = Seen(
        observed=f"the client has it after {had - began} ms, it is asked after {first - began} ms{early}",
        ok=not is_early,
        measured_ms={"call_to_ack": had - began, "call_to_first_request": first - began},
    )
    return beside(seen, {service: [*heard[service], *after]})


async def leaves(up: Stage, service: str, one: Workload, call: Callable[[], Awaitable[None]]) -> Seen:
    """A call makes an instance one that is not asked."""
    before = sum(reply.instance == one.name for reply in await up.shopper.many(service, SOME))
    async with up.shopper.asking((service,)) as heard:
        began = up.shopper.now_ms()
        await call()
        gone = await up.admin.until(up.client, host(service), lambda known: one.place not in known, LIMIT)
        after = await up.shopper.many(service, SOME)
    asked = sum(reply.instance == one.name for reply in after)
    seen = Seen(
        observed=f"the client has lost it after {gone - began} ms; of {SOME} it was asked {before} before, "
        f"{asked} then",
        ok=before > 0 and not asked,
        measured_ms={"call_to_ack": gone - began},
    )
    return beside(seen, {service: [*heard[service], *after]})
