"""What the control plane says of itself: reports as values.

Three clocks (DESIGN 1.4): when a commit was seen, when it was pushed, when the last proxy had it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from mesh.names import ObjectKey
from mesh.problems import Problem, in_order
from reconciler import registry_report
from reconciler.acceptance import Accepted
from reconciler.cycle import CycleStatus
from reconciler.missing import missing_credentials
from reconciler.reading import Reading
from reconciler.render import problem_fields
from reconciler.worlds import Worlds
from registries.drops import Moment
from registries.source import SourceStatus
from xds import envoy
from xds.fleet import Fleet
from xds.member import Member
from xds.memo import Broken
from xds.resources import Resource
from xds.server import Connection
from xds.session import Sync, TypeStatus


def status(
    cycle: CycleStatus, fleet: Fleet, worlds: Worlds, registries: Sequence[SourceStatus], moment: Moment
) -> dict[str, Any]:
    """``meshwright status``: how far the newest commit has got, and what is in the way."""
    accepted = worlds.accepted.value
    return {
        "revision": cycle.seen or cycle.revision,
        "accepted": cycle.revision,
        "tree": cycle.served,
        "state": str(cycle.state),
        "reason": cycle.reason,
        "hint": cycle.hint,
        "since": _stamp(cycle.since),
        "units": [
            {
                "name": unit.name,
                "seen": unit.seen,
                "accepted": unit.accepted or "",
                "held_since": _stamp(unit.held_since),
                "problems": [problem_fields(problem) for problem in unit.problems],
            }
            for unit in cycle.units
        ],
        "problems": [problem_fields(problem) for problem in _problems(worlds, registries)],
        "registries": registry_report.report(registries, moment),
        "live": {**_live(fleet, accepted), "seen_at_ms": _milliseconds(worlds.seen_at)},
        "git": {
            "url": cycle.url,
            "branch": cycle.branch,
            "fetched_at": _stamp(cycle.fetched_at),
            "event": str(cycle.event.value) if cycle.event else "",
        },
        "broken": [broken_fields(broken, accepted) for broken in fleet.memo.broken],
    }


def broken_fields(broken: Broken, accepted: Accepted[Reading] | None) -> dict[str, Any]:
    """What could not be made, and the lines of what it was to be made of."""
    return {
        "resource": broken.resource,
        "function": broken.function,
        "reason": broken.reason,
        "sources": _sources(broken.sources, accepted),
    }


def _problems(worlds: Worlds, registries: Sequence[SourceStatus]) -> tuple[Problem, ...]:
    """What is wrong with what is served, also where only a running mesh can know."""
    accepted, trust, services = worlds.accepted.value, worlds.trust.value, worlds.latest.value.services
    of_registries = (*registry_report.problems(registries), *services.ties)
    if accepted is None:
        return in_order(of_registries)
    lacking = missing_credentials(accepted.reading, services, trust) if trust is not None else ()
    return in_order((*accepted.problems, *lacking, *of_registries))


def _live(fleet: Fleet, accepted: Accepted[Reading] | None) -> dict[str, Any]:
    progress = fleet.progress
    members = fleet.members
    behind = sorted(member.proxy.id for member in members if not member.is_live)
    known = fleet.world.services.workloads.values()
    connected = {(member.proxy.namespace, member.proxy.name) for member in members}
    return {
        "revision": progress.revision if progress else "",
        "acknowledged": len(members) - len(behind),
        "connected": len(members),
        "disconnected": sorted(
            f"{workload.name}.{workload.namespace}"
            for workload in known
            if workload.mutual_tls and (workload.namespace, workload.name) not in connected
        ),
        "behind": behind,
        "refused": [one for member in members for one in _refusals(member, accepted)],
        "pushed_at_ms": _milliseconds(progress.pushed_at) if progress else None,
        "acknowledged_at_ms": _milliseconds(progress.acknowledged_at) if progress else None,
    }


def _refusals(member: Member, accepted: Accepted[Reading] | None) -> Iterable[dict[str, Any]]:
    for refusal in member.refusals.values():
        found = _resource(member, refusal.type_url, refusal.name)
        yield {
            "proxy": member.proxy.id,
            "type": envoy.SHORT_NAMES.get(refusal.type_url, refusal.type_url),
            "resource": refusal.name,
            "version": refusal.version,
            "message": refusal.message,
            "sources": _sources(found.sources if found else (), accepted),
        }


def _resource(member: Member, type_url: str, name: str) -> Resource | None:
    for facet in member.facets:
        part = facet.wanted.get(type_url)
        if part is not None and name in part.resources:
            return part.resources[name]
    return None


def proxies(connections: Iterable[Connection], fleet: Fleet) -> dict[str, Any]:
    """``meshwright proxies``: who is connected and how far each has got."""
    members = {id(member): member for member in fleet.members}
    rows = []
    for connection in connections:
        member = members.get(id(connection.membership))
        if member is None:
            continue
        proxy, is_live = member.proxy, member.is_live
        rows.append(
            {
                "name": proxy.id,
                "role": str(proxy.role),
                "address": proxy.address,
                "types": {
                    envoy.SHORT_NAMES[one.type_url]: _standing(one, member) for one in connection.types
                },
                "facets": [_facet_name(facet) for facet in member.facets],
                "revision": fleet.progress.revision if fleet.progress and is_live else "",
                "is_live": is_live,
                "since": _stamp(connection.since),
                "certificate_end": _stamp(connection.certificate_end),
            }
        )
    return {"proxies": sorted(rows, key=lambda row: str(row["name"]))}


def _standing(one: TypeStatus, member: Member) -> dict[str, str]:
    """A refusal counts until it is settled, also once its bytes are in quarantine and all others are held."""
    refused = {name: it for (type_url, name), it in member.refusals.items() if type_url == one.type_url}
    if not refused:
        return {"sync": str(one.sync), "message": one.message}
    message = "; ".join(f"{name}: {refusal.message}" for name, refusal in sorted(refused.items()))
    return {"sync": str(Sync.NACK), "message": message}


def _facet_name(facet: object) -> str:
    return type(facet).__name__.removesuffix("Facet").lower()


def resources(member: Member, type_url: str, worlds: Worlds) -> list[dict[str, Any]]:
    """``meshwright proxy NAME clusters``: what one proxy was sent, and the objects it came from."""
    found = [
        resource
        for part in member.assignment.value.parts.get(type_url, ())
        for resource in part.resources.values()
    ]
    return [
        {
            "name": resource.name,
            "version": resource.version,
            "sources": _sources(resource.sources, worlds.accepted.value),
            "resource": envoy.as_dict(resource.message),
        }
        for resource in sorted(found, key=lambda resource: resource.name)
    ]


def _sources(keys: Iterable[ObjectKey], accepted: Accepted[Reading] | None) -> list[dict[str, Any]]:
    """Objects with the file and line they have in the revision that is served."""
    found = []
    for key in keys:
        where = accepted.reading.where(key) if accepted else None
        found.append(
            {
                "object": str(key),
                "file": where.file if where else "",
                "line": where.line if where else 0,
            }
        )
    return found


def _stamp(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment is not None else None


def _milliseconds(moment: datetime | None) -> int | None:
    return round(moment.timestamp() * 1000) if moment is not None else None
