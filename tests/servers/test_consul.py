"""The Consul agent that tests talk to does what they ask of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.consul import ConsulAgent, three_servers
from tests.servers.door import Answered, Door
from tests.servers.processes import DidNotStart, until

WEB = {"ID": "web-1", "Name": "web", "Port": 80, "Check": {"TTL": "1h"}}
READ = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'


def passing(agent: ConsulAgent, service: str = "web") -> int:
    return len(agent.health(service, passing="1"))


def external(node: str) -> dict[str, object]:
    return {"Node": node, "Address": "10.0.0.1", "Service": {"ID": "r", "Service": "reviews", "Port": 9080}}


def test_a_service_serves_while_its_check_passes(consul_agent: ConsulAgent) -> None:
    consul_agent.register(WEB)
    consul_agent.check("service:web-1", "pass")
    assert passing(consul_agent) == 1

    consul_agent.check("service:web-1", "fail")
    assert passing(consul_agent) == 0


def test_maintenance_of_a_service_and_of_the_node_shows(consul_agent: ConsulAgent) -> None:
    consul_agent.register({"ID": "web-1", "Name": "web", "Port": 80})

    consul_agent.service_maintenance("web-1", is_on=True, reason="kernel")
    assert passing(consul_agent) == 0
    consul_agent.service_maintenance("web-1", is_on=False)
    assert passing(consul_agent) == 1
    consul_agent.node_maintenance(is_on=True)
    assert passing(consul_agent) == 0


def test_nodes_come_and_go_through_the_catalogue(consul_agent: ConsulAgent) -> None:
    consul_agent.register_external(external("db-1"))
    consul_agent.register_external(external("db-2"))
    consul_agent.deregister_external("db-1")
    assert passing(consul_agent, "reviews") == 1

    consul_agent.clear()
    assert passing(consul_agent, "reviews") == 0


def test_many_changes_are_written_quickly(consul_agent: ConsulAgent) -> None:
    consul_agent.write(
        [{"Node": {"Verb": "set", "Node": {"Node": f"n{it}", "Address": "::1"}}} for it in range(500)]
    )

    assert len(consul_agent.ask("GET", "/v1/catalog/nodes")) == 501


def test_it_keeps_its_catalogue_over_a_restart_and_loses_it_when_fresh(consul_agent: ConsulAgent) -> None:
    consul_agent.register(WEB)
    consul_agent.kill()
    consul_agent.start()
    assert len(consul_agent.health("web")) == 1

    consul_agent.restart_fresh()
    assert consul_agent.health("web") == []


def test_it_can_hang(consul_agent: ConsulAgent) -> None:
    consul_agent.suspend()
    with pytest.raises(TimeoutError):
        consul_agent.door().ask("GET", "/v1/status/leader", timeout_s=0.3)

    consul_agent.resume()
    until("an answer", lambda: consul_agent.door().answers("/v1/status/leader"))


def test_the_loss_of_a_joined_node_shows(consul_agent: ConsulAgent, tmp_path: Path) -> None:
    with ConsulAgent(tmp_path / "client", node_name="client-1", join=consul_agent, is_server=False) as client:
        client.register({"ID": "web-1", "Name": "web", "Port": 80})
        until("the service in the catalogue", lambda: passing(consul_agent) == 1)

        client.kill()
        until("the node to be missed", lambda: passing(consul_agent) == 0)


@pytest.mark.usefixtures("has_consul")
def test_tokens_read_until_they_are_deleted(tmp_path: Path) -> None:
    with ConsulAgent(tmp_path, acl=True) as agent:
        agent.register(WEB)
        token = agent.make_token(READ, ttl="1m")
        assert len(agent.door(token.secret).ask("GET", "/v1/health/service/web")) == 1
        assert agent.door().ask("GET", "/v1/health/service/web") == []
        assert token.secret not in repr(token)

        agent.delete_token(token)
        with pytest.raises(Answered, match="403 ACL not found"):
            agent.door(token.secret).ask("GET", "/v1/health/service/web")


@pytest.mark.usefixtures("has_consul")
def test_tls_asks_for_a_certificate_where_it_is_told_to(tmp_path: Path) -> None:
    with ConsulAgent(tmp_path, tls=True, verify_incoming=True) as agent:
        assert agent.url.startswith("https://")
        assert agent.door().answers("/v1/status/leader")
        assert not Door(port=agent.port, context=agent.ca.context()).answers("/v1/status/leader")


@pytest.mark.usefixtures("has_consul")
def test_an_agent_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(DidNotStart, match="invalid config key no_such_setting"):
        ConsulAgent(tmp_path, settings={"no_such_setting": 1}).start()


@pytest.mark.usefixtures("has_consul")
def test_another_server_leads_when_the_leader_is_lost(tmp_path: Path) -> None:
    with three_servers(tmp_path) as (first, second, third):
        first.register_external(external("db-1"))
        led = second.ask("GET", "/v1/status/leader")
        assert led == first.rpc_address
        first.kill()

        until("another leader", lambda: second.ask("GET", "/v1/status/leader") not in {"", led})
        # Asked consistently: a new leader answers from what it has applied so far.
        until("the catalogue", lambda: third.door().answers("/v1/health/service/reviews", consistent=""))
        assert len(third.health("reviews", consistent="")) == 1


@pytest.mark.usefixtures("has_consul")
def test_a_datacenter_can_be_asked_through_another(tmp_path: Path) -> None:
    with (
        ConsulAgent(tmp_path / "1") as near,
        ConsulAgent(tmp_path / "2", datacenter="dc2", join_wan=near) as far,
    ):
        far.register_external(external("db-1"))

        until("both datacenters", lambda: near.ask("GET", "/v1/catalog/datacenters") == ["dc1", "dc2"])
        until("a way there", lambda: near.door().answers("/v1/health/service/reviews", dc="dc2"))
        assert len(near.health("reviews", dc="dc2")) == 1
