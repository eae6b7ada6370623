"""A small model of Envoy's delta client: applies, refuses, warms, records. Written from its rules.

It keeps two truths apart, as Envoy does: ``active`` is what it runs, ``recorded`` is what it will
report at the next connection. After a refused response the good resources are active and nothing of the
response is recorded (reference/envoy-bets.md, 8).
"""

from __future__ import annotations

from collections import deque
from typing import Any

from tests.support.ads_client import a_request, read_response
from xds import envoy
from xds.session import Session

BAD = "bad"


class ModelEnvoy:
    """One proxy. Its streams come and go; ``active`` and ``recorded`` stay."""

    def __init__(self) -> None:
        self.active: dict[str, dict[str, str]] = {type_url: {} for type_url in envoy.TYPES}
        self.recorded: dict[str, dict[str, str]] = {type_url: {} for type_url in envoy.TYPES}
        self.subscribed: dict[str, set[str]] = {type_url: set() for type_url in envoy.TYPES}
        self.requests: deque[Any] = deque()
        self.received: list[Any] = []
        self.broken: list[str] = []
        self.warming: set[str] = set()
        """Clusters that are new or changed and wait for endpoints, however well they are known."""

    def connect(self) -> None:
        """A new stream: everything known is asked for again, with the versions on record."""
        self.requests.clear()
        for type_url in envoy.TYPES:
            is_wildcard = type_url in (envoy.CLUSTER, envoy.LISTENER)
            names = sorted(self.subscribed[type_url])
            if is_wildcard or names:
                self.requests.append(
                    a_request(
                        type_url, subscribe=() if is_wildcard else names, versions=self.recorded[type_url]
                    )
                )

    def receive(self, message: bytes) -> None:
        response = read_response(message)
        self.received.append(response)
        type_url = response.type_url
        names = [resource.name for resource in response.resources]
        assert len(set(names)) == len(names), "a name twice in one response is refused as a whole"
        assert not set(names) & set(response.removed_resources)
        is_wildcard = type_url in (envoy.CLUSTER, envoy.LISTENER)
        # What it let go while the response was on its way is ignored.
        resources = [r for r in response.resources if is_wildcard or r.name in self.subscribed[type_url]]
        refused = []
        for name in response.removed_resources:
            self.active[type_url].pop(name, None)
            if type_url == envoy.CLUSTER:
                self.warming.discard(name)
        for resource in resources:
            content = resource.resource.value.decode().partition("=")[2]
            if content.startswith(BAD):
                refused.append(resource.name)
                continue
            if type_url == envoy.CLUSTER and self.active[type_url].get(resource.name) != content:
                self.warming.add(resource.name)
            elif type_url == envoy.ENDPOINTS:
                self.warming.discard(resource.name)
            self.active[type_url][resource.name] = content
        if refused:
            self.requests.append(a_request(type_url, nonce=response.nonce, error=f"bad: {refused}"))
        else:
            for resource in resources:
                self.recorded[type_url][resource.name] = resource.version
            for name in response.removed_resources:
                self.recorded[type_url].pop(name, None)
            self.requests.append(a_request(type_url, nonce=response.nonce))
        self._point()
        self._look_for_breaks()

    def _point(self) -> None:
        """Clusters want endpoints and listeners want route tables of their own names."""
        for pointing, pointed in ((envoy.CLUSTER, envoy.ENDPOINTS), (envoy.LISTENER, envoy.ROUTES)):
            wanted = set(self.active[pointing])
            known = self.subscribed[pointed]
            if wanted != known:
                self.subscribed[pointed] = wanted
                for name in known - wanted:
                    self.active[pointed].pop(name, None)
                    self.recorded[pointed].pop(name, None)
                self.requests.append(
                    a_request(pointed, subscribe=sorted(wanted - known), unsubscribe=sorted(known - wanted))
                )

    def _look_for_breaks(self) -> None:
        """A table's content is the name of the cluster it sends to, a dot, and anything."""
        for table, content in self.active[envoy.ROUTES].items():
            cluster = content.partition(".")[0]
            if cluster not in self.active[envoy.CLUSTER]:
                self.broken.append(f"table {table} sends to {cluster}, which is not there")


def converse(session: Session, proxy: ModelEnvoy, now: float = 0.0, rounds: int = 400) -> int:
    """Until both fall silent. Returns how many responses were written."""
    written = 0
    for _ in range(rounds):
        while proxy.requests:
            session.hear(proxy.requests.popleft(), now)
        messages = [response.message for response in session.responses(now)]
        if not messages:
            return written
        for message in messages:
            written += 1
            proxy.receive(message)
    raise AssertionError(f"no silence after {rounds} rounds")
