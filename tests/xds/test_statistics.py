"""How a statistic's name is taken apart. That Envoy does the same: ``translate/test_bootstrap.py``."""

from __future__ import annotations

import re

import pytest

from xds.statistics import stats_config

CONFIG = stats_config("xds-grpc")
REVIEWS = "outbound|9080|v1|reviews.default.svc.cluster.local"


def label(tag: str, name: str) -> str | None:
    """What Envoy makes of a name: the second group is the label, the first one is cut out."""
    (regex,) = (one["regex"] for one in CONFIG["stats_tags"] if one["tag_name"] == tag)
    found = re.search(regex, name)
    return found and found.group(2)


@pytest.mark.parametrize(
    ("name", "cluster"),
    [
        (f"cluster.{REVIEWS}.upstream_rq_total", REVIEWS),
        (f"cluster.{REVIEWS};.upstream_rq_total", REVIEWS),
        (f"cluster.{REVIEWS}.external.upstream_rq_200", REVIEWS),
        ("cluster.outbound|80||zone.internal.example.membership_total", "outbound|80||zone.internal.example"),
        ("cluster.inbound|9080||.upstream_cx_total", "inbound|9080||"),
        ("cluster.PassthroughCluster.upstream_cx_total", "PassthroughCluster"),
        ("cluster.xds-grpc.ssl.fail_verify_san", "xds-grpc"),
        ("cluster_manager.cluster_added", None),
    ],
)
def test_a_cluster_is_a_label_also_when_its_host_has_dots(name: str, cluster: str | None) -> None:
    assert label("cluster_name", name) == cluster


@pytest.mark.parametrize(
    ("name", "is_kept"),
    [
        (f"cluster.{REVIEWS}.upstream_rq_503", True),
        (f"cluster.{REVIEWS}.upstream_cx_length_ms", False),
        (f"cluster.{REVIEWS}.circuit_breakers.default.cx_open", False),
        ("cluster.xds-grpc.circuit_breakers.default.cx_open", True),
        ("http.inbound_0.0.0.0_9080.rbac.denied", True),
        ("listener_manager.lds.update_success", True),
        ("sds.default.key_rotation_failed", True),
    ],
)
def test_of_each_cluster_only_a_few_statistics_are_kept(name: str, *, is_kept: bool) -> None:
    patterns = CONFIG["stats_matcher"]["inclusion_list"]["patterns"]
    kept = any(
        name.startswith(one.get("prefix", "\0"))
        or name.endswith(one.get("suffix", "\0"))
        or ("safe_regex" in one and re.fullmatch(one["safe_regex"]["regex"], name) is not None)
        for one in patterns
    )
    assert kept is is_kept
