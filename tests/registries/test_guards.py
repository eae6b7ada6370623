"""What ``Mesh.spec.guards`` may say, and for one registry."""

from __future__ import annotations

import pytest

from tests.support.documents import problems_of

NOTHING_HELD = "nothing can lose more than 100 percent: nothing is ever held"


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        ("guards: {share: 20, above: 0, dwell: 30s}", []),
        ("guards: {disabled: true, share: 100}", []),
        ("guards: {share: 100}", [f"warning IST0133 spec.guards.share: {NOTHING_HELD}"]),
        ("guards: {dwell: 0s}", ["error IST0106 spec.guards.dwell: expected a duration of at least 1ms"]),
        (
            "guards: {share: 101}",
            ["error IST0106 spec.guards.share: expected a number from 0 to 100, found 101"],
        ),
        (
            "registries: [{name: vms, consul: {address: 'http://c:8500'}, guards: {share: 100}}]",
            [f"warning IST0133 spec.registries[0].guards.share: {NOTHING_HELD}"],
        ),
    ],
)
def test_guards_that_cannot_be_meant_are_named(spec: str, problems: list[str]) -> None:
    assert problems_of("Mesh", spec) == problems
