"""How many calls an address may have under way."""

from __future__ import annotations

import pytest

from ca.places import Places
from ca.throttle import TooMany


def test_an_address_without_a_place_is_told_so_and_others_have_theirs() -> None:
    places = Places(1)
    with places.one_for("a"), places.one_for("b"), pytest.raises(TooMany) as refused, places.one_for("a"):
        pass

    assert (str(refused.value), refused.value.hint) == ("1 calls from a are under way", "try again")


def test_a_place_is_given_back_however_the_call_ended() -> None:
    places = Places(1)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="lost"), places.one_for("a"):
            raise RuntimeError("lost")
