"""A kubeconfig is read as kubectl reads it; what would weaken the connection is refused by name."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.errors import Misconfigured, Unavailable
from registries.kubernetes.access import Credentials
from registries.kubernetes.accounts import InCluster, Kubeconfig
from registries.kubernetes.kubeconfig import read
from tests.support.clock import FakeClock

SECRET = "very-secret"
HERE = Path("/etc/here")
NO_CA = {"certificate-authority-data": None}
LOGIN = {"apiVersion": "client.authentication.k8s.io/v1", "command": "login"}


def a_kubeconfig(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> bytes:
    """One cluster and one user, by token."""
    server = {"server": "https://10.0.0.1:6443", "certificate-authority-data": _base64("CA")}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "east",
            "clusters": [{"name": "c", "cluster": {**server, **(cluster or {})}}],
            "users": [{"name": "u", "user": {"token": SECRET} if user is None else user}],
            "contexts": [
                {"name": "east", "context": {"cluster": "c", "user": "u"}},
                {"name": "nowhere", "context": {"cluster": "missing", "user": "u"}},
            ],
        }
    ).encode()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_the_current_context_says_server_and_token() -> None:
    login = read(a_kubeconfig(), HERE)

    assert (login.server.url, login.server.ca, login.token) == ("https://10.0.0.1:6443", "CA", SECRET)


def test_json_is_read_like_yaml() -> None:
    content = json.dumps(yaml.safe_load(a_kubeconfig())).encode()

    assert read(content, HERE) == read(a_kubeconfig(), HERE)


def test_files_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    for name in ("ca.pem", "client.pem", "key.pem"):
        (tmp_path / name).write_text(name)
    content = a_kubeconfig(
        {"certificate-authority-data": None, "certificate-authority": "ca.pem"},
        {"client-certificate": "client.pem", "client-key": "key.pem"},
    )
    server = read(content, tmp_path).server

    assert (server.ca, server.certificate, server.key) == ("ca.pem", b"client.pem", b"key.pem")


def test_the_name_in_the_servers_certificate_may_be_said() -> None:
    assert read(a_kubeconfig({"tls-server-name": "api.east"}), HERE).server.name == "api.east"


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (
            b"a: 1\na: 2",
            "the kubeconfig is not one YAML document (line 2)",
            "check it with: kubectl config view",
        ),
        (b"", "the kubeconfig is not one YAML document", "check it with: kubectl config view"),
        (b"kind: Config", "the kubeconfig has no current-context", "name one in 'context'"),
        (
            a_kubeconfig({"insecure-skip-tls-verify": True}),
            "cluster 'c' of the kubeconfig: insecure-skip-tls-verify is not supported",
            "give certificate-authority-data instead",
        ),
        (
            a_kubeconfig({"proxy-url": f"http://{SECRET}@proxy"}),
            "cluster 'c' of the kubeconfig: proxy-url is not supported",
            "give the control plane a route to the server",
        ),
        (
            a_kubeconfig({"server": f"https://user:{SECRET}@api"}),
            "cluster 'c' of the kubeconfig: server is no URL",
            "expected https://<host>:<port>",
        ),
        (
            a_kubeconfig({"server": "http://api.example.com"}),
            "cluster 'c' of the kubeconfig: the server is not https",
            "use https",
        ),
        (
            a_kubeconfig({"certificate-authority-data": SECRET}),
            "cluster 'c' of the kubeconfig: certificate-authority-data is not base64",
            "kubectl config view --raw --flatten writes it so",
        ),
        (
            a_kubeconfig(user={"auth-provider": {"name": "gcp"}}),
            "user 'u' of the kubeconfig: auth-provider is not supported",
            "use exec, which replaces it",
        ),
        (
            a_kubeconfig(user={"username": "admin", "password": SECRET}),
            "user 'u' of the kubeconfig: username is not supported",
            "use a client certificate, a token or exec",
        ),
        (
            a_kubeconfig(user={"token": SECRET, "as": "admin"}),
            "user 'u' of the kubeconfig: as is not supported",
            "use credentials of the account itself",
        ),
        (
            a_kubeconfig(user={"client-key-data": _base64(SECRET)}),
            "user 'u' of the kubeconfig: a client certificate and its key come together",
            "give both client-certificate-data and client-key-data",
        ),
        (
            a_kubeconfig(user={"client-certificate": "missing.pem", "client-key": "missing.pem"}),
            "user 'u' of the kubeconfig: the file of client-certificate cannot be read: FileNotFoundError",
            "use client-certificate-data, or make the file readable to the control plane",
        ),
        (
            a_kubeconfig(user={"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1"}}),
            "exec of user 'u' of the kubeconfig: apiVersion is not supported",
            "expected client.authentication.k8s.io/v1 or v1beta1",
        ),
        (
            a_kubeconfig(
                user={
                    "exec": {
                        "apiVersion": "client.authentication.k8s.io/v1",
                        "command": "login",
                        "interactiveMode": "Always",
                    }
                }
            ),
            "exec of user 'u' of the kubeconfig: interactiveMode Always needs a person",
            "use a program that can do without",
        ),
        (
            a_kubeconfig(user={"token": [SECRET]}),
            "user 'u': token: expected text, found list",
            "quote what is no text",
        ),
        (
            a_kubeconfig({"certificate-authority-data": "\u00e9"}),
            "cluster 'c' of the kubeconfig: certificate-authority-data is not base64",
            "kubectl config view --raw --flatten writes it so",
        ),
        (
            a_kubeconfig({"server": "https://one two:6443"}),
            "cluster 'c' of the kubeconfig: server is no URL",
            "expected https://<host>:<port>",
        ),
        *(
            (
                a_kubeconfig(user={"exec": {**LOGIN, "args": args}}),
                "exec of user 'u': args is not a list of text",
                "quote what is no text",
            )
            for args in (5, "one", [5], ["\0"], {"a": "b"})
        ),
        *(
            (
                a_kubeconfig(user={"exec": {**LOGIN, "env": env}}),
                "exec of user 'u': env is not a list of names and values",
                "expected - {name: <name>, value: <text>}",
            )
            for env in (
                ["A=b"],
                {"A": "b"},
                [{"name": "A", "value": "\0"}],
                [{"value": "b"}],
                [{"name": "A=b"}],
            )
        ),
        *(
            (
                a_kubeconfig(
                    {**NO_CA, "certificate-authority": "\0"} if of == "cluster 'c'" else None, user=user
                ),
                f"{of}: {field}: a NUL character or half a character",
                "write it anew",
            )
            for of, field, user in (
                ("cluster 'c'", "certificate-authority", {}),
                ("user 'u'", "tokenFile", {"tokenFile": "\0"}),
                ("exec of user 'u'", "command", {"exec": {**LOGIN, "command": "\0"}}),
            )
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(content: bytes, message: str, hint: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        read(content, HERE)

    assert (str(refused.value), refused.value.hint) == (message, hint)
    assert SECRET not in f"{refused.value}{refused.value.hint}"


@pytest.mark.parametrize(
    ("context", "message", "hint"),
    [
        ("west", "the kubeconfig has no context 'west'", "known are east, nowhere"),
        ("nowhere", "the kubeconfig has no cluster 'missing'", "known are c"),
    ],
)
def test_a_context_or_cluster_that_is_not_there_is_named(context: str, message: str, hint: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        read(a_kubeconfig(), HERE, context)

    assert (str(refused.value), refused.value.hint) == (message, hint)


def test_nothing_secret_is_shown_when_a_login_is_printed() -> None:
    login = read(a_kubeconfig(user={"token": SECRET}), HERE)
    by_program = read(
        a_kubeconfig(
            user={
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "login",
                    "env": [{"name": "PASSWORD", "value": SECRET}],
                }
            }
        ),
        HERE,
    )

    assert SECRET not in f"{login!r}{by_program!r}{Credentials(server=login.server, token=SECRET)!r}"


# Read anew each time


def an_access(tmp_path: Path, content: bytes) -> Kubeconfig:
    folder = tmp_path / "registries" / "east"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kubeconfig").write_bytes(content)
    (folder / "kubeconfig").chmod(0o600)
    return Kubeconfig(tmp_path / "registries", "east", FakeClock())


async def test_a_token_file_is_read_anew_each_time(tmp_path: Path) -> None:
    token = tmp_path / "token"
    access = an_access(tmp_path, a_kubeconfig(user={"tokenFile": str(token), "token": "older"}))
    with pytest.raises(
        Unavailable, match=r"^the tokenFile of the kubeconfig cannot be read: FileNotFoundError$"
    ):
        await access.read()
    tokens = []
    for text in ("one\n", "two\n"):
        token.write_text(text)
        tokens.append((await access.read()).token)

    assert tokens == ["one", "two"]


async def test_a_changed_kubeconfig_is_another_connection(tmp_path: Path) -> None:
    access = an_access(tmp_path, a_kubeconfig())
    before = await access.read()
    an_access(tmp_path, a_kubeconfig({"server": "https://10.0.0.2:6443"}))

    assert (await access.read()).server != before.server


async def test_a_folder_without_kubeconfig_is_told(tmp_path: Path) -> None:
    (tmp_path / "east").mkdir()
    with pytest.raises(Misconfigured, match=r"^the credentials 'east' hold no kubeconfig$") as refused:
        await Kubeconfig(tmp_path, "east", FakeClock()).read()

    assert refused.value.hint == "put one there; kubectl config view --raw --flatten --minify prints it"


async def test_in_a_pod_the_environment_and_the_mounted_account_are_used(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("CA")
    (tmp_path / "token").write_text("one\n")
    found = await InCluster("fd00::1", "443", tmp_path).read()

    assert (found.server.url, found.server.ca, found.token) == ("https://[fd00::1]:443", "CA", "one")


async def test_outside_of_a_pod_its_account_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        Misconfigured, match=r"^inCluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are"
    ):
        await InCluster("", "", tmp_path).read()
    with pytest.raises(
        Unavailable, match=r"^inCluster: ca\.crt of the ServiceAccount cannot be read: FileNotFou"
    ):
        await InCluster("10.0.0.1", "443", tmp_path).read()


@pytest.mark.parametrize("token", ["two\nlines", "a\r\nX-Evil: 1", "\u00e9", "two words"])
async def test_a_token_that_can_stand_in_no_request_is_the_operators_to_mend(
    tmp_path: Path, token: str
) -> None:
    access = an_access(tmp_path, a_kubeconfig(user={"token": token}))
    with pytest.raises(Misconfigured) as refused:
        await access.read()
    assert token not in str(refused.value)
    assert refused.value.hint == "write the token alone, as kubectl create token prints it"
