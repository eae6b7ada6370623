from __future__ import annotations

import json
from pathlib import Path

import pytest

from ca.authority import open_authority
from mesh.errors import Misconfigured, Refused
from reconciler.tokens import Desk, keep_trust_domain, render, trust_domain
from tests.support.clock import FakeClock


def a_desk(state: Path, clock: FakeClock | None = None) -> Desk:
    return Desk(state, None, clock or FakeClock())


def an_open_desk(state: Path) -> Desk:
    """A desk of a state directory that has a CA."""

    clock = FakeClock()
    open_authority(state / "ca", clock.now(), trust_domain="mesh.example")
    keep_trust_domain(state, "mesh.example")
    return a_desk(state, clock)


def test_a_token_is_for_one_identity_and_one_machine(tmp_path: Path) -> None:
    desk = an_open_desk(tmp_path)
    text = desk.create("web/front", "web-1", "1h")

    assert text.startswith("mw1.")
    assert text.endswith(".mesh.example")
    (token,) = desk.listed()
    assert str(token.caller.identity) == "spiffe://mesh.example/ns/web/sa/front"
    assert token.caller.name == "web-1"


@pytest.mark.parametrize(
    ("identity", "name"), [(None, "web-1"), ("web", "web-1"), ("web/front", None), ("", "")]
)
def test_a_token_needs_an_identity_and_a_machine(
    tmp_path: Path, identity: str | None, name: str | None
) -> None:
    with pytest.raises(Misconfigured) as error:
        a_desk(tmp_path).create(identity, name, "1h")

    assert str(error.value) == "a join token needs an identity and a machine's name"
    assert error.value.hint == "meshwright ca token --identity NAMESPACE/ACCOUNT --name NAME"


def test_without_a_ca_there_are_no_tokens_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as error:
        a_desk(tmp_path).create("web/front", "web-1", "1h")

    assert str(error.value) == f"there is no CA in {tmp_path}"
    assert list(tmp_path.iterdir()) == []


def test_a_time_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as error:
        an_open_desk(tmp_path).create("web/front", "web-1", "soon")

    assert str(error.value) == "not a duration: 'soon'"
    assert error.value.hint == "write it as 30m or 1h"


@pytest.mark.parametrize("identity", ["web/front/more", "/front", "web/", "we b/front"])
def test_an_identity_that_is_none_is_refused(tmp_path: Path, identity: str) -> None:
    with pytest.raises(Refused):
        an_open_desk(tmp_path).create(identity, "web-1", "1h")


def test_tokens_are_listed_without_their_secrets(tmp_path: Path) -> None:
    desk = an_open_desk(tmp_path)
    secret = desk.create("web/front", "web-1", "1h").split(".")[2]
    (token,) = desk.listed()
    desk.revoke(token.id)

    text, shown = render(desk.listed(), "text"), json.loads(render(desk.listed(), "json"))
    assert shown == {
        "tokens": [
            {
                "id": token.id,
                "identity": "spiffe://mesh.example/ns/web/sa/front",
                "name": "web-1",
                "expires": "2026-01-01T01:00:00+00:00",
                "state": "revoked",
            }
        ]
    }
    assert text.splitlines()[0].split() == ["ID", "IDENTITY", "NAME", "EXPIRES", "STATE"]
    assert secret not in text


def test_the_trust_domain_is_kept_for_commands(tmp_path: Path) -> None:
    assert trust_domain(tmp_path) == "cluster.local"
    keep_trust_domain(tmp_path, "one.example")
    keep_trust_domain(tmp_path, "two.example")

    assert trust_domain(tmp_path) == "two.example"
    assert [path.name for path in tmp_path.iterdir()] == ["trust-domain"]
