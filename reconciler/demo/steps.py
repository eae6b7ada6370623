"""The commits of the bookinfo demo in order, and the traffic that each must bring about.

A step writes whole files over those of the example; what it does not name stays as the step before
left it. The texts are Istio's own tasks (traffic shifting, request routing, fault injection,
authorization), so that a reader can find each in Istio's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from reconciler.demo.traffic import Traffic

STARS = {"v1": "none", "v2": "black", "v3": "red"}
DELAY_MS = 1000
FEW = 12

ROUTES = "reviews.yaml"
FAULT = "ratings.yaml"
POLICY = "policy.yaml"


class Course(Enum):
    """What becomes of a step's commit."""

    LIVE = auto()
    HELD = auto()
    REVERT = auto()
    """Takes the commit before it back, and goes live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One commit: what it writes (``None`` removes a file) and what must be seen after it."""

    name: str
    message: str
    traffic: tuple[Traffic, ...]
    files: Mapping[str, str | None]
    course: Course = Course.LIVE


def bookinfo(example: Mapping[str, str]) -> tuple[Step, ...]:
    """The steps over ``example``, the files of ``examples/bookinfo``."""
    at_rest = example[ROUTES]
    rule, _, _ = at_rest.rpartition("---\n")
    halves = rule + "---\n" + routes(_shares(v1=50, v2=50))
    jason = rule + "---\n" + routes(_user("jason", "v2") + _shares(v1=100))
    starred = rule + "---\n" + routes(_shares(v2=50, v3=50))
    ninety_ten = Traffic(shares={"v1": 90, "v2": 10}, ratings=STARS)
    others = Traffic(asker="others", shares={"v1": 100}, ratings=STARS, requests=FEW)
    policed = Traffic(shares={"v2": 50, "v3": 50}, ratings=STARS | {"v3": "403"})
    return (
        Step(
            name="reviews 90/10",
            message="Send one of ten requests for reviews to v2",
            files={ROUTES: at_rest},
            traffic=(ninety_ten,),
        ),
        Step(
            name="reviews 50/50",
            message="Send half of the requests for reviews to v2",
            files={ROUTES: halves},
            traffic=(Traffic(shares={"v1": 50, "v2": 50}, ratings=STARS),),
        ),
        Step(
            name="header match to v2",
            message="Show v2 of reviews to jason alone",
            files={ROUTES: jason},
            traffic=(_jason(ratings=STARS), others),
        ),
        Step(
            name="delay fault",
            message="Delay ratings for jason",
            files={FAULT: fault("delay", f"fixedDelay: {DELAY_MS}ms")},
            traffic=(
                _jason(ratings=STARS, delay_ms=DELAY_MS, is_delayed=True),
                replace(others, delay_ms=DELAY_MS),
            ),
        ),
        Step(
            name="abort fault",
            message="Abort ratings for jason",
            files={FAULT: fault("abort", "httpStatus: 500")},
            traffic=(_jason(ratings=STARS | {"v2": "500"}), others),
        ),
        Step(
            name="reviews-v3 denied",
            message="Deny ratings to reviews v3",
            files={FAULT: None, ROUTES: starred, POLICY: DENY_V3},
            traffic=(policed,),
        ),
        Step(
            name="broken YAML",
            message="Break the routes of reviews",
            files={ROUTES: starred.replace("  hosts:\n", " hosts:\n", 1)},
            traffic=(policed,),
            course=Course.HELD,
        ),
        Step(
            name="revert",
            message="",
            files={},
            traffic=(policed,),
            course=Course.REVERT,
        ),
        Step(
            name="at rest again",
            message="Go back to the example",
            files={POLICY: None, ROUTES: at_rest},
            traffic=(ninety_ten,),
        ),
    )


def _jason(*, ratings: Mapping[str, str], delay_ms: int = 0, is_delayed: bool = False) -> Traffic:
    return Traffic(
        user="jason",
        shares={"v2": 100},
        ratings=ratings,
        requests=FEW,
        delay_ms=delay_ms,
        is_delayed=is_delayed,
    )


def routes(http: str) -> str:
    """The VirtualService of reviews with these routes."""
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: bookinfo
spec:
  hosts:
    - reviews.bookinfo.svc.cluster.local
  http:
{http}"""


def _shares(**weights: int) -> str:
    destinations = "".join(
        f"""\
        - destination:
            host: reviews.bookinfo.svc.cluster.local
            subset: {subset}
          weight: {weight}
"""
        for subset, weight in weights.items()
    )
    return f"    - route:\n{destinations}"


def _user(name: str, subset: str) -> str:
    return f"""\
    - match:
        - headers:
            end-user:
              exact: {name}
      route:
        - destination:
            host: reviews.bookinfo.svc.cluster.local
            subset: {subset}
"""


def fault(kind: str, setting: str) -> str:
    """A VirtualService of ratings with a fault for jason."""
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: ratings
  namespace: bookinfo
spec:
  hosts:
    - ratings.bookinfo.svc.cluster.local
  http:
    - match:
        - headers:
            end-user:
              exact: jason
      fault:
        {kind}:
          percentage:
            value: 100
          {setting}
      route:
        - destination:
            host: ratings.bookinfo.svc.cluster.local
    - route:
        - destination:
            host: ratings.bookinfo.svc.cluster.local
"""


DENY_V3 = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: ratings
  namespace: bookinfo
spec:
  selector:
    matchLabels:
      app: ratings
  action: DENY
  rules:
    - from:
        - source:
            principals:
              - cluster.local/ns/bookinfo/sa/bookinfo-reviews-v3
"""
