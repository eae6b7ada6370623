"""Which of Envoy's statistics a proxy keeps, and which parts of their names become labels.

The labels are Istio's: ``cluster_name`` is one, not a part of a metric's name. Envoy keeps about a
hundred statistics for each cluster; only those below are kept, of which those that multiply with the
mesh are few. Istio keeps fewer still and counts requests by extensions of its own
(``pkg/bootstrap``, ``defaultEnvoyStatsMatcherInclusion…``).
"""

from __future__ import annotations

from typing import Any

# A host has dots, so the name of a cluster of the mesh ends where a statistic that is kept of it begins;
# words without an underscore would not do: ``default`` and ``internal`` are parts of hosts too.
_MESH_CLUSTER = r"(?:inbound|outbound)\|.+?(?=;?\.(?:(?:external|internal)\.)?(?:upstream_|membership_))"
_KEPT_PREFIXES = (
    "cluster_manager",
    "control_plane",
    "listener_manager",
    "server",
    "sds.",
)
_KEPT_SUFFIXES = (
    "rbac.allowed",
    "rbac.denied",
    "shadow_allowed",
    "shadow_denied",
    "fault.aborts_injected",
    "fault.delays_injected",
    "downstream_cx_active",
    "downstream_cx_total",
    "downstream_rq_total",
    "ssl.handshake",
    "ssl.connection_error",
)
_KEPT_OF_CLUSTERS = (
    r"(cluster|http)\..*\.((upstream|downstream)_rq_([1-5]xx|[1-5]\d\d|time|total|active)|"
    r"upstream_rq_(timeout|retry|pending_overflow)|upstream_cx_(active|total|connect_fail)|"
    r"membership_(healthy|total))"
)


def stats_config(control_plane: str) -> dict[str, Any]:
    """Envoy's ``StatsConfig`` in JSON form; of the cluster ``control_plane`` everything is kept."""
    tags = {
        "cluster_name": rf"^cluster\.(({_MESH_CLUSTER}|[^.|;]+);?\.)",
        "response_code": r"_rq(_(\d{3}))$",
        "response_code_class": r"_rq(_(\dxx))$",
        "http_conn_manager_prefix": r"^http\.(((?:inbound|outbound)_[_.:\[\]a-fA-F\d]+|\w+)\.)",
        "tcp_prefix": r"^tcp\.((.+?)\.)(?=(?:downstream_|upstream_|idle_timeout|max_))",
        "listener_address": r"^listener\.(((?:[_.:\[\]a-fA-F\d]+|\w+))\.)",
    }
    kept = [
        *({"prefix": prefix} for prefix in (*_KEPT_PREFIXES, f"cluster.{control_plane}")),
        *({"suffix": suffix} for suffix in _KEPT_SUFFIXES),
        {"safe_regex": {"regex": _KEPT_OF_CLUSTERS}},
    ]
    return {
        "use_all_default_tags": False,
        "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in tags.items()],
        "stats_matcher": {"inclusion_list": {"patterns": kept}},
    }
