"""What programs read: real output of every command, against the schemas that are promised for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jsonschema import Draft202012Validator

from ca.authority import open_authority
from ca.callers import Caller
from mesh.clock import SystemClock
from mesh.identity import SpiffeId
from mesh.names import ObjectKey
from mesh.services import Provider
from reconciler import daemon
from reconciler.cli import main
from reconciler.demo.report import Report, StepReport, as_json
from reconciler.registry_report import released, report
from reconciler.settings import Settings
from reconciler.status import broken_fields
from registries.drops import Moment
from registries.holds import Held, Measure
from registries.registry import Freshness, State
from registries.source import SourceStatus
from registries.sources import Released
from tests.bench.test_report import a_report
from tests.support.ads_client import AdsClient
from tests.support.certificates import a_key, a_request, an_issuer
from tests.support.repositories import Repository
from tests.support.served import free_port
from xds import envoy
from xds.memo import Broken

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "json"
NODE = "sidecar~127.0.90.1~hello-1.shop~shop.svc.cluster.local"
MESH = """\
apiVersion: meshwright.dev/v1alpha1
kind: Mesh
metadata: {name: default}
spec: {tenancy: [{path: broken}]}
"""
HELLO = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hello, namespace: shop}
spec:
  hosts: [hello.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8000, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: hello}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: hello-1, namespace: shop}
spec: {address: 127.0.90.1, labels: {app: hello}, serviceAccount: hello}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: hello-2, namespace: shop}
spec: {address: 127.0.90.2, labels: {app: hello}, serviceAccount: hello}
"""
BROKEN = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: broken}
spec:
  hosts: [a]
  http: [{timeuot: 1s, route: [{destination: {host: a}}]}]
"""


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


def mismatches(name: str, said: object) -> list[str]:
    """Everything in which an output is not what its schema promises."""
    found = Draft202012Validator(schema(name)).iter_errors(said)
    return [f"{error.json_path}: {error.message}" for error in found]


def answer(*words: str | Path) -> Any:
    """The JSON of one command, run in this process."""
    done = CliRunner().invoke(main, [*(str(word) for word in words), "--output", "json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return json.loads(done.stdout)


def commands_with_json() -> set[str]:
    return {path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json")}


@pytest.mark.parametrize("name", sorted(commands_with_json()))
def test_a_schema_is_one_and_leaves_nothing_open_at_the_top(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))

    assert schema(name)["additionalProperties"] is False
    assert schema(name)["description"]


def test_every_command_with_json_has_a_schema() -> None:
    assert commands_with_json() == {
        "bench",
        "ca-token-list",
        "check",
        "demo",
        "proxies",
        "proxy",
        "registries",
        "registries-release",
        "status",
    }


@pytest.mark.parametrize("text", [BROKEN, "a: [", MESH, "kind: Frob\napiVersion: security.istio.io/v1\n"])
def test_check_keeps_its_promise(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)

    assert mismatches("check", answer("check", tmp_path)) == []


def test_the_demo_keeps_its_promise() -> None:
    step = StepReport(
        name="broken YAML", commit="0" * 40, push_to_ack_ms=None, expected="held", observed="held", ok=True
    )
    times = {"push_to_first_ack": 3}
    steps = (
        step,
        StepReport(
            name="renewal",
            commit="-",
            push_to_ack_ms=12,
            expected="",
            observed="",
            ok=False,
            measured_ms=times,
        ),
    )

    assert mismatches("demo", json.loads(as_json(Report(envoy="1.40.0", proxies=7, steps=steps)))) == []


def test_the_benchmark_keeps_its_promise() -> None:
    assert mismatches("bench", json.loads(a_report().as_json())) == []


def test_the_list_of_tokens_keeps_its_promise(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = CliRunner().invoke(main, ["ca", *words, "--state", str(tmp_path)])
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    run("init")
    first, _ = (run("token", "--identity", "shop/hello", "--name", name) for name in ("hello-1", "hello-2"))
    run("token", "--revoke", first.split(".")[1])
    said = answer("ca", "token", "--list", "--state", tmp_path)

    assert sorted(token["state"] for token in said["tokens"]) == ["open", "revoked"]
    assert mismatches("ca-token-list", said) == []


def test_an_output_with_something_else_is_not_what_was_promised() -> None:
    assert mismatches("ca-token-list", {"tokens": [], "more": 1}) == [
        "$: Additional properties are not allowed ('more' was unexpected)"
    ]


@dataclass(frozen=True, slots=True)
class Served:
    """A control plane in this process."""

    state: Path
    port: int

    async def says(self, *words: str) -> Any:
        """A command asks over the socket, and runs a loop of its own."""
        return await asyncio.to_thread(answer, *words, "--state", self.state)

    def channel(self) -> grpc.aio.Channel:
        """A connection as the machine hello-1."""
        clock, key = SystemClock(), a_key()
        authority = open_authority(self.state / "ca", clock.now(), trust_domain="cluster.local")
        caller = Caller(SpiffeId("cluster.local", "shop", "hello"), "hello-1")
        chain = an_issuer(clock, authority).issue(a_request(key), caller)
        credentials = grpc.ssl_channel_credentials(
            authority.roots[0].public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            chain.pem,
        )
        return grpc.aio.secure_channel(
            f"127.0.0.1:{self.port}", credentials, [("grpc.ssl_target_name_override", "localhost")]
        )


@asynccontextmanager
async def a_control_plane(folder: Path) -> AsyncIterator[Served]:
    repository = Repository(folder / "repository")
    repository.push({"mesh.yaml": MESH, "hello.yaml": HELLO, "broken/a.yaml": BROKEN})
    state, port = folder / "state", free_port()
    settings = Settings(
        repo=repository.url,
        state=state,
        listen_address="127.0.0.1",
        token_port=0,
        xds_port=port,
        est_port=0,
        metrics_port=0,
    )
    serving = asyncio.create_task(daemon.serve(settings, SystemClock()))
    try:
        yield Served(state, port)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def wait_until_serving(served: Served) -> Any:
    """Its status, once there is something to connect to."""
    clock = SystemClock()
    async with asyncio.timeout(20):
        while not (served.state / "admin.sock").exists():
            await clock.sleep(timedelta(milliseconds=20))
        while not (said := await served.says("status"))["live"]["revision"]:
            await clock.sleep(timedelta(milliseconds=20))
    return said


def test_registries_keep_their_promise() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    held = Held(service=None, measure=Measure.INSTANCES, missing=9, of=12, since=now, believed_at=None)
    waiting = SourceStatus(name="dc1", provider=Provider.CONSUL, is_awaited=True)
    live = SourceStatus(
        name="east",
        provider=Provider.KUBERNETES,
        freshness=Freshness(state=State.LIVE, heard_at=now, since=now),
        holds=(held,),
    )
    word = released(Released(registry="east", was_awaited=False, holds=(held,)))

    assert mismatches("registries", {"registries": report([waiting, live], Moment(0.0, now))}) == []
    assert mismatches("registries-release", word) == []


async def test_what_the_control_plane_says_keeps_its_promises(tmp_path: Path) -> None:
    """With a unit that is held, a proxy that refuses, and one that is not there."""
    async with a_control_plane(tmp_path) as served:
        before = await wait_until_serving(served)
        async with served.channel() as channel, AdsClient(channel, NODE) as client:
            await client.ask(envoy.CLUSTER, subscribe=["*"])
            while not (status := await served.says("status"))["live"]["refused"]:
                await client.refuse(await client.hear(), "no such thing")
            proxies = await served.says("proxies")
            registries = await served.says("registries")
            sent = {
                kind: await served.says("proxy", "hello-1.shop", kind)
                for kind in ("clusters", "endpoints", "listeners", "routes")
            }

    assert mismatches("status", before) == []
    assert mismatches("status", status) == []
    source = ObjectKey("ServiceEntry", "shop", "hello")
    broken = broken_fields(Broken("a", "cluster", "a bug", (source,)), None)
    assert mismatches("status", status | {"broken": [broken]}) == []
    assert {unit["name"]: unit["held_since"] is not None for unit in status["units"]} == {
        "mesh": False,
        "broken": True,
    }
    assert status["live"]["disconnected"] == ["hello-2.shop"]
    assert mismatches("proxies", proxies) == []
    assert mismatches("registries", registries) == []
    assert [proxy["types"]["cds"]["sync"] for proxy in proxies["proxies"]] == ["NACK"]
    assert {kind: mismatches("proxy", said) for kind, said in sent.items()} == {kind: [] for kind in sent}
    assert sent["clusters"]["clusters"]
