"""What a Consul agent is told and asked by tests: its services, checks, nodes and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from tests.servers.door import Door

Definition = Mapping[str, Any]

# More is too much in one transaction for Consul before 1.12.
_OPERATIONS_MAX = 64


@dataclass(frozen=True, slots=True)
class Token:
    """An ACL token: what it is managed by, and what is shown."""

    accessor: str
    secret: str = field(repr=False)


class Catalogue:
    """The catalogue of a datacenter, through one agent of it."""

    def __init__(self, node_name: str, datacenter: str) -> None:
        self.node_name, self.datacenter = node_name, datacenter
        # A token of management, once ACLs were bootstrapped; empty without ACLs.
        self.token = ""

    def door(self, token: str = "") -> Door:
        """A way to ask with a token of one's choice."""
        raise NotImplementedError

    def ask(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        """Anything, with the token of management."""
        return self.door(self.token).ask(method, path, body, **query)

    def health(self, service: str, **query: Any) -> list[dict[str, Any]]:
        """The instances of a service, as a registry reads them."""
        found: list[dict[str, Any]] = self.ask("GET", f"/v1/health/service/{service}", **query)
        return found

    def register(self, service: Definition) -> None:
        """A service of this agent's node: ``{"ID": …, "Name": …, "Port": …, "Check": {"TTL": "1h"}}``."""
        self.ask("PUT", "/v1/agent/service/register", service, **{"replace-existing-checks": "true"})

    def deregister(self, service_id: str) -> None:
        self.ask("PUT", f"/v1/agent/service/deregister/{service_id}")

    def check(self, check_id: str, verdict: Literal["pass", "warn", "fail"], note: str = "") -> None:
        """Report for a TTL check of this agent: ``service:<ID of the service>`` unless it was named."""
        self.ask("PUT", f"/v1/agent/check/{verdict}/{check_id}", note=note)

    def service_maintenance(self, service_id: str, *, is_on: bool, reason: str = "") -> None:
        self._maintenance(f"service/maintenance/{service_id}", is_on, reason)

    def node_maintenance(self, *, is_on: bool, reason: str = "") -> None:
        self._maintenance("maintenance", is_on, reason)

    def _maintenance(self, path: str, is_on: bool, reason: str) -> None:
        self.ask("PUT", f"/v1/agent/{path}", enable=str(is_on).lower(), reason=reason)

    def register_external(self, entry: Definition) -> None:
        """Straight into the catalogue, as ``/v1/catalog/register`` has it; needs no agent of the node."""
        self.ask("PUT", "/v1/catalog/register", {"Datacenter": self.datacenter, **entry})

    def deregister_external(self, node: str, service_id: str | None = None) -> None:
        """A service of an external node, or the node with all it has."""
        entry = {"Datacenter": self.datacenter, "Node": node}
        self.ask("PUT", "/v1/catalog/deregister", entry | ({"ServiceID": service_id} if service_id else {}))

    def write(self, operations: Sequence[Definition]) -> None:
        """Many changes quickly (``/v1/txn``): 10,000 services in a second or two; atomic only up to 64."""
        for start in range(0, len(operations), _OPERATIONS_MAX):
            self.ask("PUT", "/v1/txn", list(operations[start : start + _OPERATIONS_MAX]))

    def clear(self) -> None:
        """Take everything out but this agent itself; of the datacenter's other nodes nothing stays."""
        self.node_maintenance(is_on=False)
        for service_id in self.ask("GET", "/v1/agent/services"):
            self.deregister(service_id)
        for check_id in self.ask("GET", "/v1/agent/checks"):
            self.ask("PUT", f"/v1/agent/check/deregister/{check_id}")
        nodes = [entry["Node"] for entry in self.ask("GET", "/v1/catalog/nodes")]
        self.write(
            [{"Node": {"Verb": "delete", "Node": {"Node": it}}} for it in nodes if it != self.node_name]
        )
        self.ask("DELETE", "/v1/kv/", recurse="true")

    def make_token(self, rules: str, *, ttl: str | None = None) -> Token:
        """A token of one policy; ``ttl`` is when it expires, a minute at least (Consul's own limit)."""
        policy = self.ask("PUT", "/v1/acl/policy", {"Name": f"policy-{uuid4()}", "Rules": rules})
        asked: dict[str, Any] = {"Policies": [{"ID": policy["ID"]}]}
        made = self.ask("PUT", "/v1/acl/token", asked | ({"ExpirationTTL": ttl} if ttl else {}))
        return Token(made["AccessorID"], made["SecretID"])

    def delete_token(self, token: Token) -> None:
        self.ask("DELETE", f"/v1/acl/token/{token.accessor}")
