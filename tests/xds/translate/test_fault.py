from __future__ import annotations

import pytest

from tests.support.views import SETTINGS
from xds.translate.http_filters import Place, Side, fault


@pytest.mark.parametrize(("side", "count"), [(Side.OUTBOUND, 1), (Side.EDGE, 1), (Side.INBOUND, 0)])
def test_the_fault_filter_is_wherever_virtual_services_act(side: Side, count: int) -> None:
    """Idle until a route has a fault, so that a commit with one changes routes alone."""
    found = list(fault.build(Place(side=side, settings=SETTINGS)))
    assert [one.name for one in found] == ["envoy.filters.http.fault"] * count
