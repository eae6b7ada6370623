from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.views import a_cluster
from xds import names
from xds.names import ClusterName

HOSTS = st.from_regex(r"[a-z0-9.*-]{1,20}", fullmatch=True)


@given(
    direction=st.sampled_from(["outbound", "inbound"]),
    port=st.integers(0, 65535),
    subset=st.from_regex(r"[a-z0-9-]{0,8}", fullmatch=True),
    host=HOSTS,
)
def test_a_clusters_name_is_read_as_it_is_written(direction: str, port: int, subset: str, host: str) -> None:
    name = ClusterName(direction, port, subset, host)

    assert ClusterName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        names.PASSTHROUGH_CLUSTER,
        names.BLACK_HOLE_CLUSTER,
        "",
        "outbound|http||host",
        "outbound|80|host",
        "sideways|80||host",
    ],
)
def test_special_clusters_have_no_parts(text: str) -> None:
    assert ClusterName.parse(text) is None


def test_names_are_istios() -> None:
    host = "reviews.bookinfo.svc.cluster.local"

    assert names.outbound_cluster(9080, "v1", host) == f"outbound|9080|v1|{host}"
    assert names.inbound_cluster(9080) == "inbound|9080||"
    assert names.listener("0.0.0.0", 9080) == "0.0.0.0_9080"
    assert ClusterName("outbound", 9080, "v1", host).sni == f"outbound_.9080_.v1_.{host}"


def test_what_a_cluster_of_the_view_is_called_is_what_routes_send_to() -> None:
    cluster = a_cluster("reviews", "v1")

    assert cluster.name == names.outbound_cluster(9080, "v1", cluster.service.host)
