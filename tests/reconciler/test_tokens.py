from __future__ import annotations

import json
from pathlib import Path

import pytest

from ca.authority import open_authority
from mesh.errors import Misconfigured
from reconciler.tokens import Desk, keep_trust_domain, kept_trust_domain, open_ca, render, trust_domain
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


@pytest.mark.parametrize("namespace", ["", "we b", "Web", "web.prod", "-web", "a" * 64])
def test_a_namespace_is_a_dns_label(tmp_path: Path, namespace: str) -> None:
    with pytest.raises(Misconfigured) as error:
        an_open_desk(tmp_path).create(f"{namespace}/front", "web-1", "1h")

    assert str(error.value) == f"not a namespace: {namespace!r}"
    assert error.value.hint == (
        "a DNS label: at most 63 lower case letters, digits and '-', with a letter or digit at both ends"
    )


@pytest.mark.parametrize("account", ["", "Front", "front_end", "front/more", "front.", "a" * 254])
def test_an_account_is_named_as_in_kubernetes(tmp_path: Path, account: str) -> None:
    with pytest.raises(Misconfigured) as error:
        an_open_desk(tmp_path).create(f"web/{account}", "web-1", "1h")

    assert str(error.value) == f"not a service account: {account!r}"
    assert error.value.hint == (
        "as in Kubernetes: lower case letters, digits, '-' and '.', with a letter or digit at both ends"
    )


def test_a_machines_name_that_is_none_is_used_wrongly(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as error:
        an_open_desk(tmp_path).create("web/front", "Web 1", "1h")

    assert str(error.value) == "not a machine name: 'Web 1'"


@pytest.mark.parametrize(("ttl", "spoken"), [("0s", "0s"), ("169h", "169h"), ("-90m", "-1h30m")])
def test_a_token_lives_a_week_at_most(tmp_path: Path, ttl: str, spoken: str) -> None:
    with pytest.raises(Misconfigured) as error:
        an_open_desk(tmp_path).create("web/front", "web-1", ttl)

    assert str(error.value) == f"token lifetime {spoken} is not between 0s and 168h"


def test_a_token_of_a_plugged_in_ca_needs_a_trust_domain_that_is_known(tmp_path: Path) -> None:
    """By default another would be taken, and every machine refused by it."""
    with pytest.raises(Misconfigured) as error:
        Desk(tmp_path / "state", tmp_path, FakeClock()).create("web/front", "web-1", "1h")

    assert str(error.value) == f"whom the CA in {tmp_path} signs for is not known in {tmp_path}/state"
    assert error.value.hint == (
        "start `meshwright serve` with this --state first, or run `meshwright ca init --trust-domain NAME`"
    )


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


def test_a_state_without_a_trust_domain_has_none(tmp_path: Path) -> None:
    assert kept_trust_domain(tmp_path) is None


def test_the_trust_domain_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart on a full disk must come up."""
    keep_trust_domain(tmp_path, "mesh.example")
    monkeypatch.setattr(Path, "write_text", lambda *_args, **_more: pytest.fail("written again"))

    keep_trust_domain(tmp_path, "mesh.example")


def test_a_ca_is_made_for_the_trust_domain_that_was_asked_for(tmp_path: Path) -> None:
    made = open_ca(tmp_path / "state", None, "mesh.example", FakeClock())

    assert made.trust_domain == kept_trust_domain(tmp_path / "state") == "mesh.example"
    assert open_ca(tmp_path / "state", None, None, FakeClock()) == made


def test_a_ca_is_not_moved_to_another_trust_domain(tmp_path: Path) -> None:
    """All that it has signed would be worthless."""
    made = open_ca(tmp_path, None, "mesh.example", FakeClock())
    with pytest.raises(Misconfigured) as error:
        open_ca(tmp_path, None, "cluster.local", FakeClock())

    assert (
        str(error.value)
        == f"the CA in {tmp_path} signs for trust domain 'mesh.example', not for 'cluster.local'"
    )
    assert error.value.hint == "leave out --trust-domain, or start with a new state directory"
    assert open_ca(tmp_path, None, None, FakeClock()) == made


def test_tokens_are_made_by_the_owner_of_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root wrote, the control plane could not read."""
    desk = an_open_desk(tmp_path)
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    with pytest.raises(Misconfigured) as error:
        desk.create("web/front", "web-1", "1h")

    assert str(error.value) == f"{tmp_path} belongs to another user (uid {owner})"
    assert error.value.hint == f"run it as its owner: sudo -u '#{owner}' …"
