"""The machine-side program, as the process it is, against the real EST service."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import re
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ca import minting
from ca.credentials import ServerCredentials
from ca.requests import Request
from mesh.clock import SystemClock
from tests.support.certificates import (
    ServedEst,
    a_caller,
    a_key,
    a_request,
    an_issuer,
    served_est,
)
from tests.support.clock import FakeClock

PROGRAM = Path(__file__).parents[2] / "playbooks" / "files" / "meshwright_enrol.py"
LIMIT_SECONDS = 30

# Ends the process, as a power cut would, before the nth change that makes something visible.
KILLED = """
import os, pathlib, runpy, sys
left = int(sys.argv.pop(1))
def counted(change):
    def wrapper(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return change(*arguments, **options)
    return wrapper
pathlib.Path.replace = counted(pathlib.Path.replace)
pathlib.Path.symlink_to = counted(pathlib.Path.symlink_to)
os.rmdir = counted(os.rmdir)
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# The waiting key, three files, the link, its swap, then: two files for Envoy | the old generation.
ENROLMENT_CHANGES, RENEWAL_CHANGES = 8, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How the program ended."""

    code: int
    out: str
    err: str


async def run(*arguments: str | Path, stdin: str = "", start: Sequence[str] = ()) -> Done:
    command = [sys.executable, *start, str(PROGRAM), *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Done(code=process.returncode, out=out.decode(), err=err.decode())


def a_token(est: ServedEst, ttl: timedelta = timedelta(hours=1), root_hash: str | None = None) -> str:
    now = est.clock.now()
    return est.tokens.create(a_caller(), ttl, root_hash=root_hash or est.authority.root_hash, now=now)


async def enrol(est: ServedEst, folder: Path, token: str | None = None, *more: str) -> Done:
    arguments = ("enrol", "--server", est.url, "--dir", folder, "--token-file", "-", *more)
    return await run(*arguments, stdin=token or a_token(est))


async def renew(est: ServedEst, folder: Path, *more: str) -> Done:
    return await run("renew", "--server", est.url, "--dir", folder, *more)


def served_leaf(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "certs/..data/cert.pem").read_bytes())


def assert_usable(folder: Path) -> None:
    """What Envoy would load: a key that fits, a chain that openssl verifies."""
    data = folder / "certs/..data"
    key = load_pem_private_key((data / "key.pem").read_bytes(), password=None)
    assert key.public_key() == served_leaf(folder).public_key()
    verify = [
        "openssl",
        "verify",
        "-x509_strict",
        "-CAfile",
        "root.pem",
        "-untrusted",
        "cert.pem",
        "cert.pem",
    ]
    done = subprocess.run(verify, cwd=data, capture_output=True, text=True, timeout=10, check=False)
    assert done.stdout == "cert.pem: OK\n", done.stderr


def without_times(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>", text)


async def test_without_openssl_it_says_so_and_leaves_the_token_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served_est(tmp_path) as est:
        token = a_token(est)
        with monkeypatch.context() as nowhere:
            nowhere.setenv("PATH", str(tmp_path))
            done = await enrol(est, tmp_path / "machine", token)
        again = await enrol(est, tmp_path / "machine", token)

    assert done.err == (
        "error: there is no openssl on this machine\nhint: install it: apt-get install openssl\n"
    )
    assert (done.code, again.code) == (2, 0)


async def test_a_machine_enrols_with_a_token_from_standard_input(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        done = await enrol(est, tmp_path / "machine")

    assert (done.code, done.err) == (0, "")
    assert (
        without_times(done.out)
        == "enrolled as spiffe://cluster.local/ns/bookinfo/sa/reviews until <time> UTC\n"
    )
    assert_usable(tmp_path / "machine")


async def test_key_and_directories_are_their_owners_alone(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        await enrol(est, tmp_path / "machine")

    modes = {
        str(path.relative_to(tmp_path / "machine")): stat.S_IMODE(path.lstat().st_mode)
        for path in (tmp_path / "machine").rglob("*")
        if not path.is_symlink()
    }
    assert modes["certs/..1/key.pem"] == 0o600
    assert {mode for mode in modes.values() if mode & 0o077} == set()


async def test_the_files_are_laid_out_as_envoy_watches_them(tmp_path: Path) -> None:
    folder = tmp_path / "machine"
    async with served_est(tmp_path) as est:
        await enrol(est, folder)

    assert (folder / "certs/..data").readlink() == Path("..1")
    assert (folder / "sds/cert.yaml").read_text() == (
        "resources:\n"
        "- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n"
        "  name: default\n"
        "  tls_certificate:\n"
        f"    certificate_chain: {{filename: '{folder}/certs/..data/cert.pem'}}\n"
        f"    private_key: {{filename: '{folder}/certs/..data/key.pem'}}\n"
        f"    watched_directory: {{path: '{folder}/certs'}}\n"
    )
    assert (folder / "sds/root.yaml").read_text() == (
        "resources:\n"
        "- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n"
        "  name: ROOTCA\n"
        "  validation_context:\n"
        f"    trusted_ca: {{filename: '{folder}/certs/..data/root.pem'}}\n"
        f"    watched_directory: {{path: '{folder}/certs'}}\n"
    )


async def test_enrolling_again_changes_nothing(tmp_path: Path) -> None:
    """A playbook may run twice; the second run needs no token."""
    async with served_est(tmp_path) as est:
        await enrol(est, tmp_path / "machine")
        before = served_leaf(tmp_path / "machine")
        done = await run("enrol", "--server", est.url, "--dir", tmp_path / "machine")

    assert done.code == 0
    assert done.out.startswith("already enrolled as spiffe://cluster.local/ns/bookinfo/sa/reviews until ")
    assert served_leaf(tmp_path / "machine") == before


async def test_the_token_is_not_sent_to_a_server_of_another_ca(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        done = await enrol(est, tmp_path / "machine", a_token(est, root_hash="0" * 64))

        assert est.count("csr_count") == 0
    assert done.code == 1
    assert done.err == (
        f"error: {est.url} shows another CA than the one the token was made for\n"
        "hint: check the address; if the CA was replaced, ask for a new token\n"
    )


async def test_the_token_is_not_sent_to_a_workload_that_plays_control_plane(tmp_path: Path) -> None:
    """A certificate of the right CA is not enough: it must carry the control plane's identity."""
    async with served_est(tmp_path / "real") as real:
        key = a_key()
        chain = real.issuer.issue(a_request(key), a_caller("ratings"))
        impostor = ServerCredentials(
            key_pem=minting.key_pem(key),
            chain_pem=chain.pem,
            roots_pem=real.credentials.roots_pem,
            not_before=real.credentials.not_before,
            not_after=real.credentials.not_after,
            renew_at=real.credentials.renew_at,
        )
        async with served_est(tmp_path / "real", credentials=impostor) as est:
            done = await enrol(est, tmp_path / "machine")
            assert est.count("csr_count") == 0

    assert done.code == 1
    assert done.err == (
        f"error: {est.url} shows the identity spiffe://cluster.local/ns/bookinfo/sa/ratings, "
        "expected spiffe://cluster.local/ns/istio-system/sa/meshwright\n"
        "hint: this is not the control plane; nothing was sent to it\n"
    )


async def test_a_token_that_another_machine_used_is_refused(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        token = a_token(est)
        await enrol(est, tmp_path / "thief", token)
        done = await enrol(est, tmp_path / "machine", token)

    assert done.code == 1
    assert without_times(done.err) == (
        f"error: {est.url} answered 401: join token {token.split('.')[1]} was already used at <time> UTC\n"
        "hint: if that was not this machine, tell the operator; a new token: meshwright ca token\n"
    )


async def test_a_token_whose_time_is_over_is_refused(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        now = est.clock.now() - timedelta(hours=2)
        token = est.tokens.create(a_caller(), timedelta(hours=1), root_hash=est.authority.root_hash, now=now)
        done = await enrol(est, tmp_path / "machine", token)

    assert done.code == 1
    assert without_times(done.err) == (
        f"error: {est.url} answered 401: join token {token.split('.')[1]} expired at <time> UTC\n"
        "hint: ask the operator for a new one: meshwright ca token\n"
    )


async def test_renewing_before_half_of_the_life_does_nothing(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        await enrol(est, tmp_path / "machine")
        before = served_leaf(tmp_path / "machine")
        done = await renew(est, tmp_path / "machine")

    assert done.code == 0
    assert done.out.startswith("not due: spiffe://cluster.local/ns/bookinfo/sa/reviews is valid until ")
    assert served_leaf(tmp_path / "machine") == before


async def test_a_renewal_brings_a_new_key_and_removes_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "machine"
    async with served_est(tmp_path) as est:
        await enrol(est, folder)
        before = served_leaf(folder)
        done = await renew(est, folder, "--force")

    assert (
        without_times(done.out)
        == "renewed as spiffe://cluster.local/ns/bookinfo/sa/reviews until <time> UTC\n"
    )
    after = served_leaf(folder)
    assert after.serial_number != before.serial_number
    assert after.public_key() != before.public_key()
    assert sorted(path.name for path in (folder / "certs").iterdir()) == ["..2", "..data"]
    assert_usable(folder)


async def test_a_certificate_past_half_of_its_life_is_renewed_without_being_told(tmp_path: Path) -> None:
    async with served_est(tmp_path, made_before=timedelta(days=30)) as est:
        await enrol(est, tmp_path / "machine")
        an_older_certificate(tmp_path / "machine", est, timedelta(hours=13))
        done = await renew(est, tmp_path / "machine")

    assert done.out.startswith("renewed as "), done.err


async def test_an_expired_certificate_says_both_times(tmp_path: Path) -> None:
    """Nothing is asked for: the server would not let it in."""
    async with served_est(tmp_path, made_before=timedelta(days=30)) as est:
        await enrol(est, tmp_path / "machine")
        an_older_certificate(tmp_path / "machine", est, timedelta(hours=25))
        done = await renew(est, tmp_path / "machine")

    assert done.code == 1
    assert without_times(done.err) == (
        "error: the certificate expired at <time> UTC\n"
        "hint: this machine's clock says <time> UTC; if it is right, enrol again with a new token\n"
    )


def an_older_certificate(folder: Path, est: ServedEst, age: timedelta) -> None:
    """In place of the machine's certificate, one for the same key that was issued before."""
    clock = FakeClock(start=est.clock.now() - age)
    key = load_pem_private_key((folder / "certs/..data/key.pem").read_bytes(), password=None)
    chain = an_issuer(clock, est.authority).issue(Request(key.public_key()), a_caller())
    (folder / "certs/..data/cert.pem").write_bytes(chain.pem)


async def test_new_roots_are_learned_before_anything_is_renewed(tmp_path: Path) -> None:
    """The same key and certificate, beside what /cacerts says now."""
    folder = tmp_path / "machine"
    async with served_est(tmp_path) as est:
        await enrol(est, folder)
        before = served_leaf(folder)
        roots = folder / "certs/..data/root.pem"
        wanted = roots.read_text()
        other = minting.new_root("cluster.local", SystemClock().now())
        roots.write_text(wanted + minting.pem(other.certificate).decode())
        done = await renew(est, folder)

    assert done.out.startswith("roots replaced: there are 1 now\nnot due: ")
    assert (folder / "certs/..data/root.pem").read_text() == wanted
    assert served_leaf(folder) == before
    assert_usable(folder)


@pytest.mark.parametrize("changes", range(ENROLMENT_CHANGES))
async def test_an_enrolment_killed_at_any_change_is_finished_by_the_next_run(
    tmp_path: Path, changes: int
) -> None:
    """The token is used up already, but the key waited for it on the disk."""
    folder = tmp_path / "machine"
    async with served_est(tmp_path) as est:
        token = a_token(est)
        arguments = ("enrol", "--server", est.url, "--dir", folder, "--token-file", "-")
        killed = await run(*arguments, stdin=token, start=("-c", KILLED, str(changes)))
        again = await enrol(est, folder, token)

    assert killed.code == 9, killed.err
    assert again.code == 0, again.err
    assert_usable(folder)
    assert sorted(path.name for path in (folder / "sds").iterdir() if path.suffix == ".yaml") == [
        "cert.yaml",
        "root.yaml",
    ]


@pytest.mark.parametrize("changes", range(RENEWAL_CHANGES))
async def test_a_renewal_killed_at_any_change_leaves_a_working_certificate(
    tmp_path: Path, changes: int
) -> None:
    folder = tmp_path / "machine"
    async with served_est(tmp_path) as est:
        await enrol(est, folder)
        arguments = ("renew", "--server", est.url, "--dir", folder, "--force")
        killed = await run(*arguments, start=("-c", KILLED, str(changes)))
        assert_usable(folder)
        between = served_leaf(folder)
        again = await renew(est, folder, "--force")

    assert killed.code == 9, killed.err
    assert again.code == 0, again.err
    assert_usable(folder)
    assert served_leaf(folder).public_key() != between.public_key()
    assert len(list((folder / "certs").glob("..[0-9]*"))) == 1


async def test_a_server_that_is_not_there_is_exit_code_3(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        token = a_token(est)
    done = await enrol(est, tmp_path / "machine", token)

    assert done.code == 3
    assert done.err == f"error: {est.url} did not answer: [Errno 111] Connection refused\n"


async def test_a_busy_server_is_exit_code_3(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        for _ in range(10):
            est_app_failure = await enrol(est, tmp_path / "machine", f"mw1.{'0' * 16}.{'x' * 43}" + tail(est))
        done = await enrol(est, tmp_path / "machine")

    assert est_app_failure.code == 1
    assert done.code == 3
    assert "answered 429: 10 failed attempts from 127.0.0.1 within 60 s" in done.err


def tail(est: ServedEst) -> str:
    return f".{est.authority.root_hash}.cluster.local"


async def test_wrong_use_is_exit_code_2(tmp_path: Path) -> None:
    server = ("--server", "https://127.0.0.1:1", "--dir", tmp_path / "machine")
    for arguments, message in (
        (("enrol", *server), "no join token"),
        (("enrol", *server, "--token-file", tmp_path / "none"), "could not read the token from "),
        (("enrol", *server, "--token-file", "-"), "this is not a join token"),
        (("renew", *server), "no certificate in "),
        (("renew", "--server", "http://x", "--dir", tmp_path), "not a server: 'http://x'"),
    ):
        done = await run(*arguments, stdin="secret")
        assert done.code == 2
        assert done.err.startswith(f"error: {message}")
        assert "secret" not in done.err


async def test_a_clock_that_is_off_is_told_with_both_times(tmp_path: Path) -> None:
    """The control plane's Date header is compared before anything depends on it."""

    async def odd_date(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = "Thu, 01 Jan 2026 00:00:00 GMT"

    async with served_est(tmp_path, on_prepare=odd_date) as est:
        done = await enrol(est, tmp_path / "machine")

    assert done.code == 0
    assert without_times(done.err) == (
        "warning: this machine's clock says <time> UTC, the control plane's <time> UTC\n"
    )
    assert "the control plane's 2026-01-01 00:00:00 UTC" in done.err


async def test_the_running_form_enrols_and_stays(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        (tmp_path / "token").write_text(a_token(est))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            *("run", "--server", est.url, "--dir", str(tmp_path / "machine")),
            *("--token-file", str(tmp_path / "token")),
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(LIMIT_SECONDS):
                line = await process.stdout.readline()
            assert line.startswith(b"enrolled as ")
            assert process.returncode is None
        finally:
            process.terminate()
            await process.wait()
    assert_usable(tmp_path / "machine")


async def test_the_running_form_tries_again_with_the_token_it_was_told(tmp_path: Path) -> None:
    """The control plane may come up later than the machine; standard input can be read only once."""
    async with served_est(tmp_path) as est:
        program = (
            "import runpy, sys, time\n"
            "time.sleep = lambda _: None\n"
            "sys.argv = sys.argv[1:]\n"
            "import http.client as client\n"
            "connect, left = client.HTTPSConnection.connect, [2]\n"
            "def late(self):\n"
            "    left[0] -= 1\n"
            "    if left[0] >= 0: raise ConnectionRefusedError('not yet')\n"
            "    connect(self)\n"
            "client.HTTPSConnection.connect = late\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(PROGRAM)),
            *("run", "--server", est.url, "--dir", str(tmp_path / "machine"), "--token-file", "-"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(a_token(est).encode())
            process.stdin.close()
            async with asyncio.timeout(LIMIT_SECONDS):
                line = await process.stdout.readline()
            assert line.startswith(b"enrolled as ")
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def test_a_full_disk_does_not_end_the_running_form(tmp_path: Path) -> None:
    """Else the certificate would end some hours later, with the disk long free again."""
    async with served_est(tmp_path) as est:
        await enrol(est, tmp_path / "machine")
        program = (
            "import os, runpy, sys, time\n"
            "def sleep(_): print('tried', flush=True); time.monotonic() - began > 20 and os._exit(9)\n"
            "began = time.monotonic()\n"
            "time.sleep = sleep\n"
            "def full(_): raise OSError(28, 'No space left on device')\n"
            "os.fsync = full\n"
            "sys.argv = sys.argv[1:]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        )
        for path in (tmp_path / "machine" / "sds").iterdir():
            path.unlink()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(PROGRAM)),
            *("run", "--server", est.url, "--dir", str(tmp_path / "machine")),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            async with asyncio.timeout(LIMIT_SECONDS):
                tried = [await process.stdout.readline() for _ in range(2)]
                said = await process.stderr.readline()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert tried == [b"tried\n"] * 2
    assert said == f"error: could not use {tmp_path / 'machine'}: No space left on device\n".encode()


def test_the_program_is_python_3_8() -> None:
    """It is copied to machines whose Python is not ours to choose."""
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 8))
    modules = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules <= sys.stdlib_module_names
