"""The program beside a Pod's Envoy: whom it believes, what it writes, and when it asks again."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ca import minting
from ca.issuance import Issuer
from mesh.clock import SystemClock
from mesh.errors import Misconfigured, Refused, Unavailable
from reconciler.enrolling import asking, door, files, run
from reconciler.enrolling.asking import Issued
from reconciler.enrolling.door import Server
from reconciler.enrolling.files import Files
from reconciler.enrolling.run import Pauses, Pod
from reconciler.installing import control_plane_id
from tests.support.certificates import NOW, a_caller, a_key, a_request, an_issuer
from tests.support.clock import FakeClock

PROGRAM = Path(__file__).parents[2] / "playbooks" / "files" / "meshwright_enrol.py"
CONTROL_PLANE = "spiffe://cluster.local/ns/istio-system/sa/meshwright"


def test_envoy_finds_its_files_as_on_a_machine() -> None:
    """The program for machines is one file that imports nothing of ours; so the layout stands twice."""
    spec = importlib.util.spec_from_file_location("meshwright_enrol", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)

    assert (files.CERT_YAML, files.ROOT_YAML) == (program.CERT_YAML, program.ROOT_YAML)
    assert str(control_plane_id("a.b")) == f"spiffe://a.b{program.CONTROL_PLANE}"


def test_a_new_certificate_replaces_the_old_at_one_place(tmp_path: Path) -> None:
    kept = Files(tmp_path / "run")
    for number in (b"1", b"2", b"3"):
        kept.publish(key=b"key " + number, chain="chain", roots="roots")

    assert (kept.data / "key.pem").read_bytes() == b"key 3"
    assert sorted(path.name for path in kept.certs.iterdir()) == ["..3", "..data"]
    assert sorted(path.name for path in kept.sds.iterdir()) == ["cert.yaml", "root.yaml"]
    assert {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*") if path.is_file()} == {0}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match=f"cannot use {tmp_path}/file/run: Not a directory"):
        Files(tmp_path / "file" / "run").prepared()


@contextlib.asynccontextmanager
async def a_server(
    issuer: Issuer, folder: Path, *, is_control_plane: bool
) -> AsyncIterator[tuple[Server, list[bytes]]]:
    """Somebody who has a certificate of the mesh; and what was said to it."""
    key = a_key()
    request = a_request(key)
    vetted = (
        issuer.vet_control_plane(request, ["localhost"])
        if is_control_plane
        else issuer.vet(request, a_caller("meshwright"))
    )
    pair = folder / "pair.pem"
    pair.write_bytes(minting.key_pem(key) + issuer.sign(vetted).pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            heard.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Server(host="127.0.0.1", port=port, identity=CONTROL_PLANE), heard


async def opened(server: Server, roots: bytes, folder: Path) -> None:
    async with door.opened(server, roots.decode(), folder):
        pass


async def test_a_workload_is_not_taken_for_the_control_plane(tmp_path: Path) -> None:
    """It has a good certificate, even of an account with that name."""
    issuer = an_issuer(SystemClock())
    roots = minting.pem(*issuer.authority.roots)
    async with a_server(issuer, tmp_path, is_control_plane=False) as (server, heard):
        with pytest.raises(Refused) as refused:
            await opened(server, roots, tmp_path)

        assert str(refused.value) == (
            f"{server} shows the identity spiffe://cluster.local/ns/bookinfo/sa/meshwright, "
            f"expected {CONTROL_PLANE}"
        )
        assert refused.value.hint == "this is not the control plane; nothing was sent to it"
        assert b"".join(heard) == b""


async def test_another_mesh_is_not_believed(tmp_path: Path) -> None:
    clock = SystemClock()
    ours, theirs = an_issuer(clock), an_issuer(clock)
    async with a_server(theirs, tmp_path, is_control_plane=True) as (server, heard):
        with pytest.raises(Refused) as refused:
            await opened(server, minting.pem(*ours.authority.roots), tmp_path)

        assert str(refused.value).startswith(f"{server} could not prove itself: ")
        assert b"".join(heard) == b""


async def test_a_control_plane_that_is_not_there_is_awaited(tmp_path: Path) -> None:
    issuer = an_issuer(SystemClock())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server = Server(host="127.0.0.1", port=port, identity=CONTROL_PLANE)
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port} cannot be reached"):
        await opened(server, minting.pem(*issuer.authority.roots), tmp_path)


@dataclass(slots=True)
class ControlPlanes:
    """What answers instead of the network: certificates of a day, unless told otherwise."""

    clock: FakeClock
    errors: list[Unavailable | Refused] = field(default_factory=list)
    asked: list[tuple[str, str, timedelta]] = field(default_factory=list)
    issuer: Issuer = field(init=False)

    def __post_init__(self) -> None:
        self.issuer = an_issuer(self.clock)

    async def certificate(self, server: Server, *, token: str, **_: Any) -> Issued:
        self.asked.append((server.host, token, self.clock.now() - NOW))
        if self.errors:
            raise self.errors.pop(0)
        key = a_key()
        chain = self.issuer.issue(a_request(key), a_caller())
        return Issued(
            key=minting.key_pem(key),
            chain=chain.pem.decode(),
            roots=minting.pem(*self.issuer.authority.roots).decode(),
            certificate=chain.leaf,
        )


@pytest.fixture
def planes(monkeypatch: pytest.MonkeyPatch) -> ControlPlanes:
    made = ControlPlanes(FakeClock(NOW))
    monkeypatch.setattr(asking, "certificate", made.certificate)
    return made


def a_pod(folder: Path, *hosts: str) -> Pod:
    (folder / "token").write_text("first")
    return Pod(
        servers=tuple(Server(host=host, port=15011, identity=CONTROL_PLANE) for host in hosts or ("a",)),
        token_file=folder / "token",
        files=Files(folder / "run"),
        root="root\n",
    )


def pauses() -> Pauses:
    """Half of a life exactly, and pauses at their longest."""
    chance = Random()
    chance.uniform = lambda low, high: (low + high) / 2 if low > 0.4 and high < 0.6 else high  # type: ignore[method-assign]
    return Pauses(chance)


@contextlib.asynccontextmanager
async def watching(pod: Pod, planes: ControlPlanes) -> AsyncIterator[None]:
    task = asyncio.ensure_future(run.watch(pod, planes.clock, pauses()))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_certificate_is_renewed_at_half_of_its_life_with_the_token_of_that_day(
    planes: ControlPlanes, tmp_path: Path
) -> None:
    pod = a_pod(tmp_path)
    async with watching(pod, planes):
        await planes.clock.advance(timedelta(hours=1))
        (tmp_path / "token").write_text("second")
        await planes.clock.advance(timedelta(hours=11))
        assert [(token, at) for _, token, at in planes.asked] == [
            ("first", timedelta(0)),
            # Ten minutes of the life lie before the issuing.
            ("second", timedelta(hours=11, minutes=55)),
        ]


async def test_a_renewal_that_fails_is_tried_again_ever_slower_and_the_old_one_stays(
    planes: ControlPlanes, tmp_path: Path
) -> None:
    pod = a_pod(tmp_path)
    first = await run.enrol(pod, planes.clock)
    planes.errors += [Unavailable("away")] * 3
    planes.asked.clear()
    async with watching(pod, planes):
        await planes.clock.advance(timedelta(hours=11, minutes=55, seconds=5))
        assert pod.files.current() == first.certificate
        await planes.clock.advance(timedelta(seconds=10))

    start = planes.asked[0][2]
    assert [(at - start).total_seconds() for _, _, at in planes.asked] == [0, 1, 3, 7]
    assert pod.files.current() != first.certificate


async def test_a_certificate_that_is_good_already_is_left_alone(
    planes: ControlPlanes, tmp_path: Path
) -> None:
    """A restarted container does not ask."""
    pod = a_pod(tmp_path)
    await run.enrol(pod, planes.clock)
    planes.asked.clear()
    async with watching(pod, planes):
        await planes.clock.advance(timedelta(hours=6))

    assert planes.asked == []


async def test_the_next_server_is_asked_when_one_is_away_and_not_when_it_refuses(
    planes: ControlPlanes, tmp_path: Path
) -> None:
    pod = a_pod(tmp_path, "a", "b")
    planes.errors = [Unavailable("away")]
    await run.enrol(pod, planes.clock)
    planes.errors = [Refused("no")]
    with pytest.raises(Refused):
        await run.enrol(pod, planes.clock)

    assert [host for host, _, _ in planes.asked] == ["a", "b", "a"]


async def test_the_first_certificate_is_awaited_for_some_minutes(
    planes: ControlPlanes, tmp_path: Path
) -> None:
    planes.errors = [Unavailable("away")] * 100
    task = asyncio.ensure_future(run.enrol(a_pod(tmp_path), planes.clock, pauses()))
    await planes.clock.advance(timedelta(minutes=6))

    with pytest.raises(Unavailable, match="away"):
        await task
    assert [round(at.total_seconds()) for _, _, at in planes.asked] == [0, 1, 3, 7, 15, 31, 63, 127, 255]


async def test_a_clock_that_is_ahead_does_not_make_the_pod_ask_without_a_pause(
    planes: ControlPlanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be renewed already when it comes is not put in use: a hundred of them would follow."""
    ahead = timedelta(hours=30)

    async def certificate(server: Server, **_: Any) -> Issued:
        issued = await planes.certificate(server, token="")
        key = serialization.load_pem_private_key(issued.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        chain = x509.load_pem_x509_certificates(issued.chain.encode())
        roots = x509.load_pem_x509_certificates(issued.roots.encode())
        asking.check(server, key, chain, roots, planes.clock.now() + ahead)
        return issued

    monkeypatch.setattr(asking, "certificate", certificate)
    pod = a_pod(tmp_path)
    with pytest.raises(Refused) as refused:
        await run.enrol(pod, planes.clock)
    planes.asked.clear()
    async with watching(pod, planes):
        await planes.clock.advance(timedelta(minutes=1))

    assert (
        str(refused.value)
        == "the new certificate ends at 2026-01-02 00:00:00 UTC and is to be renewed already"
    )
    assert refused.value.hint == "the clock of this node says 2026-01-02 06:00:00 UTC; is it right?"
    assert [at.total_seconds() for _, _, at in planes.asked] == [0, 1, 3, 7, 15, 31]
    assert pod.files.current() is None


@pytest.mark.parametrize("content", [b"", b"\xff", b"-----BEGIN CERTIFICATE-----\nMIIB\n"])
async def test_a_certificate_that_cannot_be_read_is_replaced(
    planes: ControlPlanes, tmp_path: Path, content: bytes
) -> None:
    """As after a node that went down while it wrote."""
    pod = a_pod(tmp_path)
    await run.enrol(pod, planes.clock)
    for name in ("cert.pem", "root.pem"):
        (pod.files.data / name).write_bytes(content)
    assert (pod.files.current(), pod.files.roots()) == (None, "")
    async with watching(pod, planes):
        await planes.clock.advance(timedelta(seconds=1))

    assert pod.files.current() is not None
    assert len(planes.asked) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the token from {}: No such file or directory"),
        (b"", "{} holds no token"),
        (b"two words", "{} holds no token"),
        (b"\xff", "cannot read the token from {}: it holds no text"),
    ],
)
async def test_a_token_that_is_none_is_not_sent(
    planes: ControlPlanes, tmp_path: Path, content: bytes | None, message: str
) -> None:
    pod = a_pod(tmp_path)
    pod.token_file.unlink()
    if content is not None:
        pod.token_file.write_bytes(content)
    with pytest.raises(Misconfigured) as error:
        await run.enrol(pod, planes.clock)

    assert str(error.value) == message.format(pod.token_file)
    assert planes.asked == []
