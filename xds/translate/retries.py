"""How retries look, and what holds when nobody spoke of them.

Istio retries twice by default, on failures where the request did not reach an application, and prefers
an endpoint it has not tried (``pilot/pkg/networking/core/route/retry``).
"""

from __future__ import annotations

import functools
from typing import Any

from mesh.kinds.virtual_service import HTTPRetry
from xds import envoy

_BY_STATUS = "retriable-status-codes"
_RETRY_ON = f"connect-failure,refused-stream,unavailable,cancelled,{_BY_STATUS}"
_ATTEMPTS = 2
_POLICY = "envoy.config.route.v3.RetryPolicy"


def write(said: HTTPRetry | None, default: HTTPRetry | None, action: Any, *, is_hashed: bool) -> None:
    """Set the retry policy of the Envoy ``RouteAction``.

    The route's own words win over the mesh's default (``None``: Istio's). Attempts of 0 switch retries
    off. With a consistent hash a retry goes where the hash says: avoiding the endpoints already tried
    would break the affinity that was asked for.
    """
    wanted = said or default
    if wanted is not None and wanted.attempts <= 0:
        return
    policy = action.retry_policy
    policy.num_retries.value = wanted.attempts if wanted else _ATTEMPTS
    policy.retry_on = _RETRY_ON
    policy.host_selection_retry_max_attempts = 5
    avoids_tried = not is_hashed
    if wanted is not None:
        if wanted.retry_on:
            policy.retry_on, codes = _conditions(wanted.retry_on)
            policy.retriable_status_codes.extend(codes)
        if wanted.per_try_timeout is not None:
            envoy.write_duration(policy.per_try_timeout, wanted.per_try_timeout)
        if wanted.backoff is not None:
            envoy.write_duration(policy.retry_back_off.base_interval, wanted.backoff)
        if wanted.retry_ignore_previous_hosts is not None:
            avoids_tried = wanted.retry_ignore_previous_hosts
        if wanted.retry_remote_localities:
            policy.retry_priority.CopyFrom(_other_localities())
    if avoids_tried:
        policy.retry_host_predicate.append(_not_tried())


def _conditions(retry_on: str) -> tuple[str, list[int]]:
    """Envoy's conditions, and the status codes that Istio allows among them."""
    words = [word for part in retry_on.split(",") if (word := part.strip())]
    codes = [int(word) for word in words if _is_status(word)]
    named = [word for word in words if not _is_status(word)]
    if codes and _BY_STATUS not in named:
        named.append(_BY_STATUS)
    return ",".join(named), codes


def _is_status(word: str) -> bool:
    return word.isdecimal() and len(word) == 3


@functools.cache
def _not_tried() -> Any:
    return envoy.parsed(
        f"{_POLICY}.RetryHostPredicate",
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        },
    )


@functools.cache
def _other_localities() -> Any:
    return envoy.parsed(
        f"{_POLICY}.RetryPriority",
        {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 2,
            },
        },
    )
