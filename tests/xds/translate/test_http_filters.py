from __future__ import annotations

import pytest

from mesh.views import Authorization
from tests.support.authorization import a_policy
from tests.support.views import SETTINGS
from xds.translate.http_filters import Place, Side, chain

EVERYTHING = Authorization(deny=(a_policy({}),), allow=(a_policy({}),))


@pytest.mark.parametrize(
    ("side", "names"),
    [
        (Side.OUTBOUND, ["rbac", "rbac", "fault", "router"]),
        (Side.EDGE, ["rbac", "rbac", "fault", "router"]),
        (Side.INBOUND, ["rbac", "rbac", "router"]),
    ],
)
def test_who_may_call_is_asked_first_and_the_router_is_last(side: Side, names: list[str]) -> None:
    found = chain(Place(side=side, settings=SETTINGS, authorization=EVERYTHING))
    assert [one.name.removeprefix("envoy.filters.http.") for one in found] == names


@pytest.mark.parametrize("side", list(Side))
def test_a_filter_with_nothing_to_do_is_absent(side: Side) -> None:
    found = chain(Place(side=side, settings=SETTINGS))
    assert "envoy.filters.http.rbac" not in [one.name for one in found]
