from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mesh.names import ObjectKey
from reconciler.deletions import Claims, Served, Watch
from reconciler.render import problem_fields
from reconciler.render_status import proxies, resources, status, table

ANSWER: dict[str, Any] = {
    "revision": "3f2a91c0000",
    "state": "ready",
    "reason": "",
    "hint": "",
    "since": "2026-01-01T00:00:00.000+00:00",
    "units": [
        {
            "name": "the mesh",
            "seen": "3f2a91c0000",
            "accepted": "3f2a91c0000",
            "held_since": None,
            "problems": [],
        }
    ],
    "problems": [],
    "live": {
        "revision": "3f2a91c0000",
        "acknowledged": 2,
        "connected": 2,
        "disconnected": [],
        "behind": [],
        "refused": [],
        "seen_at_ms": 1000,
        "acknowledged_at_ms": 1038,
    },
    "git": {"url": "https://git/mesh", "branch": "main", "fetched_at": "2026-01-01T00:00:00.000+00:00"},
    "broken": [],
    "registries": [],
}


def test_a_mesh_that_is_well_takes_few_lines() -> None:
    assert status(ANSWER) == (
        "repository  https://git/mesh (main)\n"
        "revision    3f2a91c, fetched 2026-01-01 00:00:00Z\n"
        "state       ready\n"
        "live        3f2a91c on 2 of 2 connected proxies, 38 ms after it was accepted\n"
        "\n"
        "UNIT      SEEN     ACCEPTED\n"
        "the mesh  3f2a91c  3f2a91c"
    )


def test_warnings_about_what_is_served_are_told_with_what_to_do() -> None:
    """Informations are not: ``check`` tells them."""
    warning = {
        "file": "edge.yaml",
        "line": 14,
        "severity": "warning",
        "code": "MW0013",
        "path": "spec.servers[1]",
        "message": "no certificate",
        "hint": "put it there",
    }
    told = status({**ANSWER, "problems": [warning, {**warning, "severity": "info"}]})
    assert told.splitlines()[-2:] == [
        "edge.yaml:14: warning MW0013 spec.servers[1]: no certificate",
        "  hint: put it there",
    ]


def test_what_is_in_the_way_is_said_with_its_place() -> None:
    problem = {
        "file": "web/a.yaml",
        "line": 14,
        "severity": "error",
        "code": "IST0101",
        "path": "spec.http[0]",
        "message": "no subset 'v4'",
        "hint": "known subsets are v1, v2",
    }
    refusal = {
        "proxy": "web-1.web",
        "type": "cds",
        "resource": "outbound|80||a",
        "version": "c0ffee",
        "message": "unknown lb policy",
        "sources": [{"file": "web/b.yaml", "line": 3, "object": "ServiceEntry/web/a"}],
    }
    live = {
        "revision": "",
        "behind": ["web-1.web"],
        "disconnected": ["web-2.web"],
        "refused": [refusal],
        "acknowledged": 1,
        "acknowledged_at_ms": None,
    }
    text = status(
        {
            **ANSWER,
            "state": "retrying",
            "reason": "could not fetch 'main'",
            "hint": "serving 3f2a91c meanwhile",
            "units": [
                {
                    "name": "web",
                    "seen": "3f2a91c0000",
                    "accepted": "",
                    "held_since": "2026-01-01T02:00:00.000+02:00",
                    "problems": [problem],
                }
            ],
            "live": {**ANSWER["live"], **live},
            "broken": [{"resource": "a", "reason": "ValueError: no", "sources": refusal["sources"]}],
        }
    )

    assert text.splitlines()[2:] == [
        "state       retrying since 2026-01-01 00:00:00Z: could not fetch 'main'",
        "live        nothing on 1 of 2 connected proxies",
        "            hint: serving 3f2a91c meanwhile",
        "behind      web-1.web",
        "not here    web-2.web",
        "",
        "UNIT  SEEN     ACCEPTED",
        "web   3f2a91c  -         held since 2026-01-01 00:00:00Z",
        "  web/a.yaml:14: error IST0101 spec.http[0]: no subset 'v4'",
        "    hint: known subsets are v1, v2",
        "",
        "refused     proxy web-1.web refused cds outbound|80||a at c0ffee: unknown lb policy",
        "            from web/b.yaml:3 ServiceEntry/web/a",
        "BROKEN      a: ValueError: no (a bug, see the log)",
        "            from web/b.yaml:3 ServiceEntry/web/a",
    ]


def test_a_held_removal_is_said_with_every_way_out() -> None:
    keys = frozenset(ObjectKey("VirtualService", "a", f"v{number}") for number in range(60))
    served = Served(units={"teams/a": keys})
    watch = Watch(served, Claims(), now=datetime(2026, 1, 1, 14, 2, tzinfo=UTC), moment=0)
    (problem,) = watch(list(keys)[:15], ["teams/a"], ["teams/a"])["teams/a"]
    unit = {
        "name": "teams/a",
        "seen": "3f2a91c0000",
        "accepted": "c4b5ce20000",
        "held_since": "2026-01-01T14:02:00.000+00:00",
        "problems": [problem_fields(problem)],
    }

    assert status({**ANSWER, "units": [unit]}).splitlines()[5:] == [
        "UNIT     SEEN     ACCEPTED",
        "teams/a  3f2a91c  c4b5ce2   held since 2026-01-01 14:02:00Z",
        (
            "  teams/a: error MW0019: the commit removes 45 of 60 objects of unit 'teams/a':"
            " held until 2026-01-01 14:07:00Z or released"
        ),
        (
            "    hint: put them back, or say 'Meshwright-Allow-Removal: yes' in the commit that removes them,"
            " or run `meshwright registries release git`"
        ),
    ]


def test_without_any_proxy_nothing_is_said_of_acknowledgements() -> None:
    told = status({**ANSWER, "live": {**ANSWER["live"], "acknowledged": 0, "connected": 0}})

    assert told.splitlines()[3] == "live        no proxy is connected"


def test_each_proxy_is_a_line() -> None:
    def a_type(sync: str, message: str = "") -> dict[str, str]:
        return {"sync": sync, "message": message}

    kinds = ("cds", "eds", "lds", "rds", "sds")
    answer = {
        "proxies": [
            {
                "name": "a.web",
                "types": {kind: a_type("SYNCED") for kind in kinds},
                "facets": ["outbound", "inbound"],
                "revision": "3f2a91c0000",
                "certificate_end": "2026-01-02T03:04:05+00:00",
            },
            {
                "name": "b.web",
                "types": {
                    kind: a_type("NACK", "no such policy") if kind == "cds" else a_type("STALE")
                    for kind in kinds
                },
                "facets": [],
                "revision": "",
                "certificate_end": None,
            },
        ]
    }
    assert proxies(answer).splitlines() == [
        "PROXY  CDS     EDS     LDS     RDS     SDS     FACETS            REVISION  CERTIFICATE",
        "a.web  SYNCED  SYNCED  SYNCED  SYNCED  SYNCED  outbound+inbound  3f2a91c   until 2026-01-02 03:04Z",
        "b.web  NACK    STALE   STALE   STALE   STALE                     behind    -",
        "  b.web cds: no such policy",
    ]


def test_an_empty_mesh_is_said() -> None:
    assert proxies({"proxies": []}) == "no proxy is connected"
    assert resources({"clusters": []}, "clusters") == "no clusters"


def test_a_resource_comes_with_the_places_it_came_from() -> None:
    found = {"name": "a", "version": "c0ffee", "resource": {"name": "a"}}
    source = {"file": "a.yaml", "line": 3, "object": "ServiceEntry/web/a"}
    answer = {"clusters": [{**found, "sources": [source]}, {**found, "sources": []}]}

    assert resources(answer, "clusters") == (
        'a  c0ffee\n  from a.yaml:3 (ServiceEntry/web/a)\n{\n  "name": "a"\n}\n\n'
        'a  c0ffee\n  from the mesh itself\n{\n  "name": "a"\n}'
    )


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([("A", "B"), ("long", "x")]) == ["A     B", "long  x"]
