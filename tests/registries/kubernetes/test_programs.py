"""Programs that hand out credentials are run with a limit, and what they print stays between us."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import Misconfigured, Unavailable
from registries.kubernetes.access import Server
from registries.kubernetes.accounts import Kubeconfig
from registries.kubernetes.kubeconfig import Program
from registries.kubernetes.programs import run
from tests.support.clock import FakeClock

SERVER = Server(url="https://10.0.0.1:6443", ca="CA", name="api")
V1 = "client.authentication.k8s.io/v1"
SECRET = "very-secret"


def a_program(script: str, **fields: Any) -> Program:
    said: dict[str, Any] = {"environment": (), "version": V1, "wants_cluster": False, "install_hint": ""}
    return Program(command=sys.executable, arguments=("-c", script), **{**said, **fields})


def printing(**status: Any) -> str:
    credential = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
    return f"print({json.dumps(json.dumps(credential))})"


async def test_a_program_grants_what_it_prints() -> None:
    granted = await run(a_program(printing(token=SECRET, expirationTimestamp="2026-01-01T10:00:00Z")), SERVER)

    assert granted.token == SECRET
    assert granted.expires == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert SECRET not in repr(granted)


async def test_a_program_may_grant_a_certificate() -> None:
    granted = await run(a_program(printing(clientCertificateData="cert", clientKeyData="key")), SERVER)

    assert (granted.certificate, granted.key, granted.token) == (b"cert", b"key", "")


async def test_a_program_is_told_its_environment_and_the_cluster_if_it_wants() -> None:
    script = (
        "import os, json; told = json.loads(os.environ['KUBERNETES_EXEC_INFO']);"
        "token = os.environ['WHO'] + ' ' + told['spec']['cluster']['server'] + ' ' + told['apiVersion'];"
        "print(json.dumps({'apiVersion': told['apiVersion'], 'status': {'token': token}}))"
    )
    granted = await run(a_program(script, environment=(("WHO", "me"),), wants_cluster=True), SERVER)

    assert granted.token == f"me https://10.0.0.1:6443 {V1}"


NOT_A_CREDENTIAL = f"exec of the kubeconfig: {sys.executable!r} did not print an ExecCredential"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "import sys; print('very-secret'); sys.exit(3)",
            f"exec of the kubeconfig: {sys.executable!r} failed with exit code 3",
        ),
        ("print('very-secret')", NOT_A_CREDENTIAL),
        ("print('[]')", NOT_A_CREDENTIAL),
        (printing(), NOT_A_CREDENTIAL),
        (printing(token=["very-secret"]), NOT_A_CREDENTIAL),
        (printing(token=SECRET, expirationTimestamp="soon"), NOT_A_CREDENTIAL),
        (printing(token=SECRET).replace(V1, f"{V1}beta1"), NOT_A_CREDENTIAL),
        ("print('x' * 2**21)", NOT_A_CREDENTIAL),
    ],
)
async def test_a_program_that_fails_is_told_without_what_it_printed(script: str, message: str) -> None:
    with pytest.raises(Unavailable) as failed:
        await run(a_program(script), SERVER)

    assert str(failed.value) == message
    assert SECRET not in f"{failed.value}{failed.value.hint}"


async def test_a_program_that_does_not_end_is_ended_with_all_it_has_started() -> None:
    script = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    with pytest.raises(Unavailable, match=r"did not end within 0\.3 s$"):
        await run(a_program(script), SERVER, seconds_max=0.3)


async def test_a_program_that_is_not_installed_is_told_with_its_own_hint() -> None:
    missing = Program(
        command="/nowhere/login",
        arguments=(),
        environment=(),
        version=V1,
        wants_cluster=False,
        install_hint="get it from the platform team",
    )
    with pytest.raises(Misconfigured) as refused:
        await run(missing, SERVER)

    assert (
        str(refused.value)
        == "exec of the kubeconfig: '/nowhere/login' cannot be run: No such file or directory"
    )
    assert refused.value.hint == "get it from the platform team"


async def test_a_program_is_run_again_only_when_its_grant_is_over_or_refused(tmp_path: Path) -> None:
    clock = FakeClock()
    runs = tmp_path / "runs"
    ends = (clock.now() + timedelta(minutes=10)).isoformat().replace("+00:00", "Z")
    script = (
        f"open({str(runs)!r}, 'a').write('x'); n = len(open({str(runs)!r}).read());"
        f"import json; print(json.dumps({{'apiVersion': {V1!r},"
        f" 'status': {{'token': f't{{n}}', 'expirationTimestamp': {ends!r}}}}}))"
    )
    folder = tmp_path / "registries" / "east"
    folder.mkdir(parents=True)
    said = {
        "current-context": "east",
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1"}}],
        "users": [
            {
                "name": "u",
                "user": {"exec": {"apiVersion": V1, "command": sys.executable, "args": ["-c", script]}},
            }
        ],
        "contexts": [{"name": "east", "context": {"cluster": "c", "user": "u"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(said))
    (folder / "kubeconfig").chmod(0o600)
    access = Kubeconfig(tmp_path / "registries", "east", clock)
    tokens = [(await access.read()).token, (await access.read()).token]
    tokens.append((await access.read(is_refused=True)).token)
    clock.jump(timedelta(minutes=9, seconds=30))
    tokens.append((await access.read()).token)

    assert tokens == ["t1", "t1", "t2", "t3"]
