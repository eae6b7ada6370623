"""What a real Consul does when it breaks, and that the answer outlives it: old outages by their symptoms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.kinds.registry_consul import Consul
from registries.registry import State
from tests.servers.consul import ConsulAgent, three_servers
from tests.support.consul_registries import listening

WEB: dict[str, Any] = {
    "ID": "web-1",
    "Name": "web",
    "Address": "10.0.0.1",
    "Port": 80,
    "Check": {"TTL": "1h", "Status": "passing"},
}
AT_NODE = {"ID": "web-1", "Service": "web", "Port": 80}
SERVED = [("10.0.0.1", 80)]
READ_ALL = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'


async def test_it_starts_without_consul_and_finds_it_later(consul_agent: ConsulAgent) -> None:
    """Roblox, 2021: what needs Consul to start cannot help when Consul is down."""
    consul_agent.register_external({"Node": "n1", "Address": "10.0.0.1", "Service": AT_NODE})
    consul_agent.stop()
    async with listening(consul_agent.url) as heard:
        await heard.until_state(State.WAITING, f"cannot ask Consul at {consul_agent.url}: Connection refused")
        assert heard.registry.answer.value is None
        await asyncio.to_thread(consul_agent.start)
        await heard.until_said(web=SERVED)
        await heard.until_state(State.LIVE)


async def test_a_restarted_consul_is_read_anew(consul_agent: ConsulAgent) -> None:
    """consul#7939: its data is gone and indexes start over; who waits for the old one waits on."""
    consul_agent.register(WEB)
    async with listening(consul_agent.url) as heard:
        await heard.until_said(web=SERVED)
        await asyncio.to_thread(consul_agent.restart_fresh)
        consul_agent.register(WEB | {"Name": "shop"})
        await heard.until_said(shop=SERVED)


async def test_a_restart_with_the_same_data_changes_nothing(consul_agent: ConsulAgent) -> None:
    consul_agent.register_external({"Node": "n1", "Address": "10.0.0.1", "Service": AT_NODE})
    async with listening(consul_agent.url) as heard:
        await heard.until_said(web=SERVED)
        offer = heard.offer("web")
        await asyncio.to_thread(consul_agent.kill)
        await heard.until_state(State.STALE)
        await asyncio.to_thread(consul_agent.start)
        await heard.until_state(State.LIVE)

        assert heard.offer("web") is offer


async def test_a_consul_that_hangs_is_stale_and_catches_up_when_it_goes_on(consul_agent: ConsulAgent) -> None:
    consul_agent.register(WEB)
    async with listening(consul_agent.url) as heard:
        await heard.until_said(web=SERVED)
        consul_agent.suspend()
        await heard.until_state(State.STALE, f"Consul at {consul_agent.url} did not answer")
        assert heard.said == {"web": SERVED}
        consul_agent.resume()
        await asyncio.to_thread(consul_agent.register, WEB | {"ID": "web-2", "Address": "10.0.0.2"})
        await heard.until_said(web=[*SERVED, ("10.0.0.2", 80)])
        await heard.until_state(State.LIVE)


async def test_a_consul_that_really_has_nothing_any_more_is_told_as_it_is(consul_agent: ConsulAgent) -> None:
    """The registry does not judge: whether that is believed is the guard's business."""
    services = [WEB | {"ID": f"s-{number}", "Name": f"s-{number}"} for number in range(12)]
    for service in services:
        consul_agent.register(service)
    async with listening(consul_agent.url) as heard:
        await heard.until("all", lambda: len(heard.said) == len(services))
        for service in services:
            consul_agent.deregister(str(service["ID"]))
        await heard.until_said()
        await heard.until_state(State.LIVE)


@pytest.mark.usefixtures("has_consul")
async def test_nothing_is_withdrawn_when_the_leader_is_lost(tmp_path: Path) -> None:
    """consul#4103, #1960, #1026: around a change of the leader, the catalogue answered without services."""
    with three_servers(tmp_path) as (leader, follower, _):
        register = {"Address": "10.9.0.1", "Service": AT_NODE}
        follower.register_external({"Node": "n1", **register})
        async with listening(follower.url) as heard:
            await heard.until_said(web=[("10.9.0.1", 80)])
            versions = heard.registry.answer.version
            leader.kill()
            await heard.until_state(State.STALE)
            await asyncio.to_thread(_until_led, follower)
            await heard.until_state(State.LIVE)

            assert heard.registry.answer.version == versions
            follower.register_external({"Node": "n2", **register, "Address": "10.9.0.2"})
            await heard.until_said(web=[("10.9.0.1", 80), ("10.9.0.2", 80)])


def _until_led(agent: ConsulAgent) -> None:
    agent._server.wait_for(agent.has_leader)


@pytest.mark.usefixtures("has_consul")
async def test_the_instances_of_a_lost_node_leave(tmp_path: Path) -> None:
    """The node's agent is gone: gossip says so, and the checks of its services say nothing any more."""
    with ConsulAgent(tmp_path / "server") as server:
        node = ConsulAgent(tmp_path / "node", node_name="node-1", join=server, is_server=False)
        with node:
            node.register(WEB)
            server.register(WEB | {"ID": "web-2", "Address": "10.0.0.2"})
            async with listening(server.url) as heard:
                await heard.until_said(web=[*SERVED, ("10.0.0.2", 80)])
                node.kill()
                await heard.until_said(web=[("10.0.0.2", 80)])
                await asyncio.to_thread(node.start)
                # Whether an agent that was killed remembers the state of a TTL check is a matter of luck.
                await asyncio.to_thread(node.check, "service:web-1", "pass")
                await heard.until_said(web=[*SERVED, ("10.0.0.2", 80)])


@pytest.fixture(scope="module")
def guarded(has_consul: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    """With ACLs, over TLS, and asking for client certificates."""
    folder = tmp_path_factory.mktemp("guarded")
    with ConsulAgent(folder, acl=True, tls=True, verify_incoming=True) as agent:
        agent.register(WEB)
        yield agent


def write_credentials(folder: Path, agent: ConsulAgent, token: str) -> Consul:
    """The operator's folder of credentials, as a registry names it."""
    own = folder / "vault"
    own.mkdir(exist_ok=True)
    (own / "address").write_text(agent.url + "\n")
    (own / "ca.crt").write_bytes(agent.ca.file.read_bytes())
    (own / "tls.crt").write_bytes(agent.client_pair.certificate.read_bytes())
    for name, text in (("tls.key", agent.client_pair.key.read_text()), ("token", token)):
        (own / name).touch(mode=0o600)
        (own / name).write_text(text)
    return Consul(secret_ref="vault")


async def test_a_token_that_ends_keeps_the_answer_and_a_new_one_heals(
    guarded: ConsulAgent, tmp_path: Path
) -> None:
    """Nobody restarts anything: the credentials are read anew at each attempt."""
    first = guarded.make_token(READ_ALL)
    settings = write_credentials(tmp_path, guarded, first.secret)
    async with listening(settings, credentials=tmp_path) as heard:
        await heard.until_said(web=SERVED)
        guarded.delete_token(first)
        await heard.until_state(State.STALLED, "ACL not found")
        freshness = heard.registry.freshness.value

        assert freshness.error == f"Consul at {guarded.url} answered 403: ACL not found"
        assert freshness.hint == "put a token that is valid into the file 'token' of its credentials"
        assert first.secret not in repr(freshness)
        assert heard.said == {"web": SERVED}

        write_credentials(tmp_path, guarded, guarded.make_token(READ_ALL).secret)
        await heard.until_state(State.LIVE)
        assert heard.said == {"web": SERVED}


@pytest.mark.parametrize("rules", ["", 'service_prefix "" { policy = "read" }'], ids=["nothing", "no-nodes"])
async def test_a_token_that_may_see_nothing_is_not_a_consul_without_services(
    guarded: ConsulAgent, tmp_path: Path, rules: str
) -> None:
    """Consul answers such a token 200 and an empty catalogue."""
    allowed = guarded.make_token(READ_ALL)
    settings = write_credentials(tmp_path, guarded, allowed.secret)
    async with listening(settings, credentials=tmp_path) as heard:
        await heard.until_said(web=SERVED)
        blind = (
            guarded.make_token(rules) if rules else guarded.make_token('key_prefix "x" { policy = "read" }')
        )
        write_credentials(tmp_path, guarded, blind.secret)
        guarded.delete_token(allowed)
        await heard.until_state(State.STALLED, "the token may not see any service of Consul")

        assert heard.said == {"web": SERVED}


async def test_a_token_whose_rights_are_taken_away_withdraws_nothing(
    guarded: ConsulAgent, tmp_path: Path
) -> None:
    token = guarded.make_token(READ_ALL)
    settings = write_credentials(tmp_path, guarded, token.secret)
    async with listening(settings, credentials=tmp_path) as heard:
        await heard.until_said(web=SERVED)
        known = guarded.ask("GET", f"/v1/acl/token/{token.accessor}")
        policy = known["Policies"][0]["ID"]
        blind = {
            "ID": policy,
            "Name": known["Policies"][0]["Name"],
            "Rules": 'key_prefix "x" { policy = "read" }',
        }
        guarded.ask("PUT", f"/v1/acl/policy/{policy}", blind)
        await heard.until_state(State.STALLED, "the token may not see any service of Consul")

        assert heard.said == {"web": SERVED}


async def test_without_its_authority_consul_is_not_trusted(guarded: ConsulAgent) -> None:
    async with listening(guarded.url) as heard:
        await heard.until_state(State.WAITING, f"the certificate of Consul at {guarded.url} is not trusted: ")

        assert heard.registry.freshness.value.hint == (
            "ca.crt of its credentials must hold the authority that issued it"
        )


async def test_an_open_source_consul_says_that_it_has_no_partitions(consul_agent: ConsulAgent) -> None:
    async with listening(Consul(address=consul_agent.url, partition="west")) as heard:
        await heard.until_state(State.STALLED, "Partitions are a Consul Enterprise feature")

        assert heard.registry.freshness.value.hint == (
            "leave out partition and namespace: this server has neither"
        )
