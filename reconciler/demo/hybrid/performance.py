"""What the hybrid demo shows, step by step: routes by git push, changes of both registries, an outage.

``watching.py`` says by what a step is judged.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from mesh.errors import MeshError
from reconciler.demo.hybrid import cluster, sidecars
from reconciler.demo.hybrid.cast import CONSUL
from reconciler.demo.hybrid.shopper import Reply, host
from reconciler.demo.hybrid.splits import Split, wrong
from reconciler.demo.hybrid.stage import ROUTES, Stage
from reconciler.demo.hybrid.watching import LIMIT, SOME, Seen, arrives, beside, leaves, pushed, until_heard
from reconciler.demo.proxies import enrol_all
from reconciler.demo.report import StepReport
from reconciler.demo.standing import Status

CATALOG, CART = "catalog", "cart"
MANY = 1000
AT_REST = (Split(service=CATALOG, consul=70, requests=MANY), Split(service=CART, consul=0, requests=SOME))
SWAPPED = (Split(service=CATALOG, consul=0, requests=SOME), Split(service=CART, consul=70, requests=MANY))

# Consul may be silent for 42 s while nothing changes (registries/consul); only then is it an outage.
STALE_LIMIT = timedelta(seconds=75)
_DURING_OUTAGE = timedelta(milliseconds=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is shown, and what must be seen."""

    name: str
    expected: str
    show: Callable[[Stage], Awaitable[Seen]]


async def perform(up: Stage) -> AsyncIterator[StepReport]:
    """Every step in order. What fails is part of the report, and the steps after it have their turn."""
    for step in STEPS:
        try:
            seen = await step.show(up)
        except MeshError as error:
            seen = Seen(observed=str(error), ok=False)
        yield StepReport(
            name=step.name,
            commit=seen.commit,
            push_to_ack_ms=seen.push_to_ack_ms,
            expected=step.expected,
            observed=seen.observed,
            ok=seen.ok,
            measured_ms=seen.measured_ms,
        )


async def _split(up: Stage) -> Seen:
    push = await up.repository.push({name: up.place.files[name] for name in ROUTES}, "Split the shop")
    return await pushed(up, push, AT_REST)


async def _swap(up: Stage) -> Seen:
    files = {f"{split.service}.yaml": split for split in SWAPPED}
    texts = {name: weighted(up.place.files[name], split.consul) for name, split in files.items()}
    async with up.shopper.asking((CATALOG, CART)) as heard:
        push = await up.repository.push(texts, "Swap the shares of catalog and cart")
        # Nobody in Consul was asked for the cart before, so the first answer from there follows the push.
        first = await until_heard(up, heard[CART], lambda reply: _is_of_consul(up, reply))
        seen = await pushed(up, push, SWAPPED, first)
    old = (reply.at_ms for reply in heard[CATALOG] if _is_of_consul(up, reply))
    last = max(max(old, default=0) - push.began_at_ms, 0)
    return beside(replace(seen, measured_ms={**seen.measured_ms, "push_to_last_old_request": last}), heard)


async def _at_rest_again(up: Stage) -> Seen:
    async with up.shopper.asking((CATALOG, CART)) as heard:
        push = await up.repository.revert()
        first = await until_heard(up, heard[CATALOG], lambda reply: _is_of_consul(up, reply))
        seen = await pushed(up, push, AT_REST, first)
    return beside(seen, heard)


async def _mutual_tls(up: Stage) -> Seen:
    replies = {service: await up.shopper.many(service, SOME) for service in (CATALOG, CART)}
    known = sum(not wrong(reply, service) for service, all_ in replies.items() for reply in all_)
    asked = sum(len(all_) for all_ in replies.values())
    let_in = [one.name for one in up.at_first if await sidecars.answers_without_tls(one.workload)]
    return Seen(
        observed=f"{known} of {asked} with both certificates; "
        f"{len(up.at_first) - len(let_in)} of {len(up.at_first)} refuse plain HTTP",
        ok=known == asked and not let_in,
    )


async def _register(up: Stage) -> Seen:
    newcomer = up.newcomer
    awaited = f"{newcomer.name}.{newcomer.workload.namespace}"
    await up.consul.register(up.cast.newcomer.definition)
    await up.control_plane.until(
        LIMIT, f"{awaited} to be known", lambda status: awaited in status.disconnected or None
    )
    await enrol_all((newcomer,))
    await newcomer.start_proxy()
    await up.control_plane.until(
        LIMIT, f"{awaited} to be connected", lambda status: _is_everybody(status, len(up.machines))
    )
    return await arrives(up, CART, newcomer.workload, lambda: up.consul.passes(newcomer.name))


async def _deregister(up: Stage) -> Seen:
    newcomer = up.newcomer
    return await leaves(up, CART, newcomer.workload, lambda: up.consul.deregister(newcomer.name))


async def _not_ready(up: Stage) -> Seen:
    pod = up.cast.pods[0]
    return await leaves(
        up,
        CATALOG,
        pod.workload,
        lambda: cluster.say_ready(up.cluster, up.cast, pod, is_ready=False),
    )


async def _ready_again(up: Stage) -> Seen:
    pod = up.cast.pods[0]
    return await arrives(
        up,
        CATALOG,
        pod.workload,
        lambda: cluster.say_ready(up.cluster, up.cast, pod, is_ready=True),
    )


async def _outage(up: Stage) -> Seen:
    before = await up.admin.endpoints(up.client, host(CART))
    async with up.shopper.asking((CATALOG, CART), _DURING_OUTAGE) as heard:
        began = up.shopper.now_ms()
        up.consul.suspend()
        try:
            await up.control_plane.until(
                STALE_LIMIT, "the status to call Consul stale", lambda status: _is(status, "stale")
            )
            stale = up.shopper.now_ms()
            during = await up.admin.endpoints(up.client, host(CART))
        finally:
            up.consul.resume()
        resumed = up.shopper.now_ms()
        await up.control_plane.until(
            STALE_LIMIT, "the status to call Consul live", lambda status: _is(status, "live")
        )
        live = up.shopper.now_ms()
        after = await up.admin.endpoints(up.client, host(CART))
    from_consul = sum(_is_of_consul(up, reply) for reply in heard[CART])
    return beside(
        Seen(
            observed=f"stale after {(stale - began) / 1000:.0f} s, live again after "
            f"{(live - resumed) / 1000:.1f} s; {len(before - during) + len(before - after)} endpoints "
            f"withdrawn, {from_consul} of {len(heard[CART])} answers for cart from {CONSUL}",
            ok=before == during == after and from_consul > 0,
            measured_ms={"hang_to_stale": stale - began, "resume_to_live": live - resumed},
        ),
        heard,
    )


STEPS = (
    Step(name="70/30 and 0/100", expected="; ".join(map(str, AT_REST)), show=_split),
    Step(
        name="mutual TLS",
        expected="both sides known by certificate; nobody answers plain HTTP",
        show=_mutual_tls,
    ),
    Step(name="swapped by push", expected="; ".join(map(str, SWAPPED)), show=_swap),
    Step(
        name="Consul: register",
        expected="asked once its check passes, no request fails",
        show=_register,
    ),
    Step(name="Consul: deregister", expected="asked no more, no request fails", show=_deregister),
    Step(name="Pod not ready", expected="asked no more, no request fails", show=_not_ready),
    Step(name="Pod ready again", expected="asked again, no request fails", show=_ready_again),
    Step(
        name="Consul hangs",
        expected="said to be stale, nothing withdrawn, no request fails; then live again",
        show=_outage,
    ),
    Step(name="revert", expected="; ".join(map(str, AT_REST)), show=_at_rest_again),
)


def weighted(text: str, consul: int) -> str:
    """The routes of a service, with this weight for Consul's instances, and the rest for Pods."""
    weights = iter((consul, 100 - consul))
    return re.sub(r"weight: \d+", lambda _: f"weight: {next(weights)}", text)


def _is_of_consul(up: Stage, reply: Reply) -> bool:
    return up.cast.registries.get(reply.instance) == CONSUL


def _is(status: Status, state: str) -> bool | None:
    return status.registries.get(CONSUL) == state or None


def _is_everybody(status: Status, proxies: int) -> bool | None:
    return (status.connected == status.acknowledged == proxies) or None
