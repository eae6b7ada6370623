"""Join tokens: bound, hashed, used up once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.callers import Unproven
from ca.tokens import JoinTokens
from mesh.errors import Refused
from tests.support.certificates import NOW, a_caller

HOUR = timedelta(hours=1)
ROOT = "ab" * 32
KEY, OTHER_KEY = "11" * 32, "22" * 32


def a_token(tokens: JoinTokens, ttl: timedelta = HOUR) -> str:
    return tokens.create(a_caller(), ttl, root_hash=ROOT, now=NOW)


def used(tokens: JoinTokens, text: str, key: str = KEY, after: timedelta = timedelta(0)) -> None:
    tokens.use(tokens.check(text, NOW + after), key, NOW + after)


def id_of(text: str) -> str:
    return text.split(".")[1]


def test_a_token_carries_the_hash_of_the_root_and_the_trust_domain(tmp_path: Path) -> None:
    version, token_id, secret, root, domain = a_token(JoinTokens(tmp_path)).split(".", 4)

    assert (version, root, domain) == ("mw1", ROOT, "cluster.local")
    assert len(token_id) == 16
    assert len(secret) == 43


def test_a_token_stands_for_an_identity_and_a_machine(tmp_path: Path) -> None:
    tokens = JoinTokens(tmp_path)

    assert tokens.check(a_token(tokens), NOW).caller == a_caller()


def test_the_secret_is_not_on_the_disk(tmp_path: Path) -> None:
    tokens = JoinTokens(tmp_path)
    text = a_token(tokens)
    used(tokens, text)

    for path in tmp_path.iterdir():
        assert text.split(".")[2] not in path.read_text()


def test_a_used_token_is_used_for_ever_and_in_every_process(tmp_path: Path) -> None:
    tokens = JoinTokens(tmp_path)
    text = a_token(tokens)
    used(tokens, text)

    with pytest.raises(Unproven) as refusal:
        used(JoinTokens(tmp_path), text, OTHER_KEY)

    assert str(refusal.value) == f"join token {id_of(text)} was already used at 2026-01-01 00:00:00 UTC"


def test_the_same_key_may_ask_again_for_ten_minutes(tmp_path: Path) -> None:
    """The answer may have been lost on its way."""
    tokens = JoinTokens(tmp_path)
    text = a_token(tokens)
    used(tokens, text)
    used(tokens, text, after=timedelta(minutes=10))

    with pytest.raises(Unproven):
        used(tokens, text, after=timedelta(minutes=10, seconds=1))


def test_of_twenty_keys_at_once_one_gets_the_token(tmp_path: Path) -> None:
    text = a_token(JoinTokens(tmp_path))

    def attempt(number: int) -> bool:
        try:
            used(JoinTokens(tmp_path), text, f"{number:064x}")
        except Unproven:
            return False
        return True

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(attempt, range(20))).count(True) == 1


def test_a_token_ends(tmp_path: Path) -> None:
    tokens = JoinTokens(tmp_path)
    text = a_token(tokens)
    tokens.check(text, NOW + HOUR - timedelta(seconds=1))

    with pytest.raises(Unproven) as refusal:
        tokens.check(text, NOW + HOUR)

    assert str(refusal.value) == f"join token {id_of(text)} expired at 2026-01-01 01:00:00 UTC"


@given(st.text(max_size=80))
def test_what_is_no_token_is_not_one_of_this_mesh(text: str) -> None:
    with pytest.raises(Unproven, match=r"^join token is not one of this mesh$"):
        JoinTokens(Path("/nonexistent")).check(text, NOW)


def test_bytes_that_are_no_text_are_no_token(tmp_path: Path) -> None:
    """As they come out of a header that holds them."""
    with pytest.raises(Unproven):
        JoinTokens(tmp_path).check("mw1.0123456789abcdef.\udcff", NOW)


def test_a_token_with_another_secret_is_not_one_of_this_mesh(tmp_path: Path) -> None:
    """And the message does not tell whether the number exists."""
    tokens = JoinTokens(tmp_path)
    text = a_token(tokens)
    for wrong in (
        text.replace(text.split(".")[2], "x" * 43),
        text.replace(text.split(".")[2], ""),
        text.replace(id_of(text), "0" * 16),
        text.replace(id_of(text), "../" + id_of(text)),
        text.replace("mw1", "mw2"),
    ):
        with pytest.raises(Unproven) as refusal:
            tokens.check(wrong, NOW)
        assert str(refusal.value) == "join token is not one of this mesh"


def test_a_revoked_token_is_worth_nothing(tmp_path: Path) -> None:
    tokens = JoinTokens(tmp_path)
    text = a_token(tokens)
    tokens.revoke(id_of(text), NOW)
    tokens.revoke(id_of(text), NOW)

    with pytest.raises(Unproven) as refusal:
        used(tokens, text)

    assert str(refusal.value) == f"join token {id_of(text)} was revoked at 2026-01-01 00:00:00 UTC"


def test_revoking_too_late_says_so(tmp_path: Path) -> None:
    tokens = JoinTokens(tmp_path)
    text = a_token(tokens)
    used(tokens, text)

    with pytest.raises(Refused) as refusal:
        tokens.revoke(id_of(text), NOW)

    assert str(refusal.value) == f"join token {id_of(text)} was already used at 2026-01-01 00:00:00 UTC"


def test_revoking_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for token_id in ("0" * 16, "../x", ""):
        with pytest.raises(Refused) as refusal:
            JoinTokens(tmp_path).revoke(token_id, NOW)
        assert str(refusal.value) == f"no join token {token_id!r}"


def test_tokens_are_listed_with_what_became_of_them(tmp_path: Path) -> None:
    tokens = JoinTokens(tmp_path)
    texts = [a_token(tokens, HOUR * (n + 1)) for n in range(3)]
    used(tokens, texts[1])
    tokens.revoke(id_of(texts[2]), NOW)

    listed = tokens.listed()
    assert [token.id for token in listed] == [id_of(text) for text in texts]
    assert [token.used for token in listed] == [None, NOW, NOW]
    assert [token.is_revoked for token in listed] == [False, False, True]


def test_tokens_long_over_are_forgotten(tmp_path: Path) -> None:
    tokens = JoinTokens(tmp_path)
    used(tokens, a_token(tokens))
    tokens.create(a_caller(), HOUR, root_hash=ROOT, now=NOW + timedelta(days=8))

    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("ttl", "spoken"), [(timedelta(0), "0s"), (timedelta(days=8), "192h")])
def test_a_token_for_ever_is_refused(tmp_path: Path, ttl: timedelta, spoken: str) -> None:
    with pytest.raises(Refused) as refusal:
        a_token(JoinTokens(tmp_path), ttl)

    assert str(refusal.value) == f"token lifetime {spoken} is not between 0s and 168h"
