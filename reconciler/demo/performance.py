"""Carries the steps out on a stage: push, wait for the last acknowledgement, send requests, compare."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

from mesh.errors import MeshError
from reconciler.demo.report import StepReport
from reconciler.demo.repository import Push
from reconciler.demo.stage import Stage
from reconciler.demo.steps import Course, Step, bookinfo

_NO_COMMIT = "-"
_LOOKS = 50
_BETWEEN_LOOKS = timedelta(milliseconds=100)


async def perform(up: Stage) -> AsyncIterator[StepReport]:
    """Every step in order, then a renewal of every certificate."""
    for step in bookinfo(up.place.files):
        yield await carry_out(step, up)
    yield await renewal(up)


async def carry_out(step: Step, up: Stage) -> StepReport:
    """One step. What fails is part of the report, and the steps after it have their turn."""
    expected = " / ".join(str(traffic) for traffic in step.traffic)
    if step.course is Course.HELD:
        expected = f"held; as before: {expected}"
    commit, waited = _NO_COMMIT, None
    try:
        push = await _push(step, up)
        commit = push.commit
        said = ""
        if step.course is Course.HELD:
            said = f"held: {'; '.join(await up.control_plane.until_held(push))}. "
        else:
            waited = await up.control_plane.until_live(push, len(up.machines))
        seen = [(traffic, await up.visitor.pages(traffic.requests, traffic.user)) for traffic in step.traffic]
    except MeshError as error:
        observed, is_as_expected = str(error), False
    else:
        observed = said + " / ".join(traffic.observed(pages) for traffic, pages in seen)
        is_as_expected = all(traffic.holds(pages) for traffic, pages in seen)
    return StepReport(
        name=step.name,
        commit=commit,
        push_to_ack_ms=waited,
        expected=expected,
        observed=observed,
        ok=is_as_expected,
    )


async def renewal(up: Stage) -> StepReport:
    """Every certificate is replaced while requests run."""
    expected = f"{len(up.machines)} certificates replaced, no request fails"
    replaced = asyncio.Event()
    asking = asyncio.create_task(up.visitor.pages_until(replaced))
    trouble, changed = "", 0
    try:
        changed = await _replace(up)
    except MeshError as error:
        trouble = f"; {error}"
    finally:
        replaced.set()
        pages = await asking
    failed = Counter(page.failure for page in pages if page.failure)
    reasons = "".join(f", {count}: {why}" for why, count in failed.items())
    return StepReport(
        name="renewal",
        commit=_NO_COMMIT,
        push_to_ack_ms=None,
        expected=expected,
        observed=f"{changed} of {len(up.sidecars)} sidecars show a new one, "
        f"{failed.total()} of {len(pages)} requests failed{reasons}{trouble}",
        ok=changed == len(up.sidecars) and not failed and not trouble,
    )


async def _replace(up: Stage) -> int:
    """Renew everywhere; how many sidecars show another certificate afterwards."""
    before = await _shown(up)
    for machine in up.machines:
        await machine.renew()
    changed = 0
    # Envoy watches the files: a new certificate is shown some tens of milliseconds after the swap.
    for _ in range(_LOOKS):
        changed = sum(old != new for old, new in zip(before, await _shown(up), strict=True))
        if changed == len(before):
            break
        await up.control_plane.clock.sleep(_BETWEEN_LOOKS)
    return changed


async def _shown(up: Stage) -> list[str]:
    return [await machine.shown_certificate() for machine in up.sidecars]


async def _push(step: Step, up: Stage) -> Push:
    if step.course is Course.REVERT:
        return await up.repository.revert()
    return await up.repository.push(step.files, step.message)
