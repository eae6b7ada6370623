"""One type on one stream: subscriptions, answers, refusals, and bytes that are made once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.ads_client import read_response
from tests.support.memberships import a_part, a_resource
from xds import envoy
from xds.bodies import Bodies, Response
from xds.delta import Delta, Heard
from xds.quarantine import ReducedPart
from xds.resources import Part
from xds.suspects import Limits

LIMITS = Limits(flight=5, backoff_first=8, backoff_max=20)
V1 = a_part(envoy.ENDPOINTS, a="v1", b="v1", c="v1")
V2 = a_part(envoy.ENDPOINTS, a="v2", b="v1")


class Stream:
    """A delta with everything permitted, and the words of the proxy at hand."""

    def __init__(self, *parts: Part, type_url: str = envoy.ENDPOINTS, bodies: Bodies | None = None) -> None:
        self.delta = Delta(type_url, bodies or Bodies(), LIMITS)
        self.delta.aim(parts)
        self.now = 0.0

    def ask(self, subscribe: str = "", unsubscribe: str = "", versions: dict[str, str] | None = None) -> None:
        self.delta.hear_names(subscribe, unsubscribe, versions or {})

    def next(self, *, gains: bool = True, losses: bool = True) -> Response | None:
        return self.delta.next(gains=gains, losses=losses, now=self.now)

    def say(self, response: Response, error: str = "") -> Heard:
        return self.delta.hear_nonce(response.nonce, error, self.now, 0.0)

    def take(self, **permitted: bool) -> tuple[str, str]:
        """The next response, acknowledged: names it has, names it removes. Empty when there is none."""
        response = self.next(**permitted)
        if response is None:
            return "", ""
        assert self.say(response) is Heard.ACK
        return brief(response)

    def takes(self, bad: str) -> list[str]:
        """Everything that comes, with ``bad`` names refused: ``+`` taken, ``-`` refused."""
        story = []
        while (response := self.next()) is not None:
            is_bad = not response.names.isdisjoint(bad)
            self.say(response, "no" if is_bad else "")
            story.append(("-" if is_bad else "+") + brief(response)[0])
        return story


def brief(response: Response) -> tuple[str, str]:
    parsed = read_response(response.message)
    return "".join(resource.name for resource in parsed.resources), "".join(parsed.removed_resources)


def versions_in(response: Response) -> dict[str, str]:
    return {resource.name: resource.version for resource in read_response(response.message).resources}


def versions(**contents: str) -> dict[str, str]:
    return {name: a_resource(envoy.ENDPOINTS, name, content).version for name, content in contents.items()}


def test_names_that_do_not_exist_are_answered_at_once() -> None:
    """Envoy would wait 15 s for them."""
    stream = Stream(V1)
    stream.ask("ax")
    assert stream.take(losses=False) == ("a", "x")
    assert stream.take() == ("", "")


def test_a_known_name_that_is_asked_for_again_is_sent_again() -> None:
    stream = Stream(V1)
    stream.ask("ab")
    stream.take()
    stream.ask("a")
    assert stream.take() == ("a", "")
    assert stream.take() == ("", "")


def test_what_was_let_go_is_not_heard_of_any_more() -> None:
    stream = Stream(V1)
    stream.ask("ab")
    stream.take()
    stream.ask(unsubscribe="a")
    stream.delta.aim((V2,))
    assert stream.take() == ("", "")
    assert stream.delta.held == (V2,)


def test_a_removed_name_is_removed_when_it_is_permitted() -> None:
    stream = Stream(V1)
    stream.ask("abc")
    stream.take()
    stream.delta.aim((V2,))
    assert stream.take(losses=False) == ("a", "")
    assert stream.delta.lack.losses
    assert stream.delta.held is None
    assert stream.take() == ("", "c")
    assert stream.delta.held == (V2,)


def test_a_name_that_moves_from_one_part_to_another_is_not_removed() -> None:
    outbound, inbound = a_part(envoy.CLUSTER, a="v1"), a_part(envoy.CLUSTER, b="v1")
    stream = Stream(outbound, inbound, type_url=envoy.CLUSTER)
    stream.ask()
    stream.take()
    stream.delta.aim((a_part(envoy.CLUSTER), a_part(envoy.CLUSTER, a="v1", b="v1")))
    assert stream.take() == ("a", "")
    assert stream.take() == ("", "")


def test_an_empty_wildcard_is_greeted_with_an_empty_response() -> None:
    stream = Stream(type_url=envoy.CLUSTER)
    stream.ask()
    response = stream.next()
    assert response is not None
    assert brief(response) == ("", "")
    assert stream.delta.held is None
    stream.say(response)
    assert stream.delta.held == ()


def test_a_wildcard_that_ends_keeps_the_names_that_were_named() -> None:
    stream = Stream(a_part(envoy.CLUSTER, a="v1", b="v1"), type_url=envoy.CLUSTER)
    stream.ask("*a")
    assert stream.take() == ("ab", "")
    stream.ask(unsubscribe="*")
    stream.delta.aim((a_part(envoy.CLUSTER, a="v2", b="v2"),))
    assert stream.take() == ("a", "")


def test_one_response_is_in_flight_and_the_newest_target_wins() -> None:
    stream = Stream(V1)
    stream.ask("abc")
    first = stream.next()
    assert first is not None
    stream.delta.aim((V2,))
    stream.delta.aim((a_part(envoy.ENDPOINTS, a="v3", b="v1", c="v1"),))
    assert stream.next() is None
    stream.say(first)
    assert stream.take() == ("a", "")
    assert stream.take() == ("", "")


def test_a_response_that_is_never_answered_does_not_stop_the_next() -> None:
    """Some warming failures bring neither ACK nor NACK; the late word is stale."""
    stream = Stream(V1)
    stream.ask("abc")
    first = stream.next()
    stream.delta.aim((V2,))
    assert first is not None
    assert stream.delta.due(0.0) == 5.0
    stream.now = 5.0
    second = stream.next()
    assert second is not None
    assert brief(second) == ("a", "c")
    assert stream.say(first) is Heard.STALE
    assert stream.say(second) is Heard.ACK
    assert stream.delta.held == (V2,)


def test_a_late_refusal_is_believed_all_the_same() -> None:
    stream = Stream(V1)
    stream.ask("a")
    first = stream.next()
    stream.delta.aim((V2,))
    stream.now = 5.0
    second = stream.next()
    assert first is not None
    assert second is not None
    assert stream.say(first, "no") is Heard.NACK
    stream.say(second)
    assert [found.name for found in stream.delta.take_found()] == ["a"]


RESUMED = [
    # what the proxy reports -> what it is sent and told to drop
    (versions(a="v1", b="v1", c="v1"), ("", "")),
    (versions(a="v0", b="v1", c="v1"), ("a", "")),
    (versions(b="v1", c="v1"), ("a", "")),
    (versions(a="v1", b="v1", c="v1", d="v1"), ("", "d")),
    (versions(a="v0", d="v1"), ("abc", "d")),
    ({name: f"{version}.n7" for name, version in versions(a="v1", b="v1", c="v1").items()}, ("", "")),
]


@pytest.mark.parametrize(("reported", "sent"), RESUMED)
def test_a_proxy_that_comes_back_is_told_the_difference(
    reported: dict[str, str], sent: tuple[str, str]
) -> None:
    """By names, and with the versions of retries taken for what they are."""
    stream = Stream(V1)
    stream.ask("abcd" if "d" in reported else "abc", versions=reported)
    assert stream.take() == sent
    assert stream.take() == ("", "")
    assert stream.delta.held == (V1,)


def test_the_culprit_is_found_by_halves_and_the_rest_is_said_again() -> None:
    names = dict.fromkeys("abcdefgh", "v1")
    stream = Stream(a_part(envoy.ENDPOINTS, **names))
    stream.ask("abcdefgh")
    assert stream.takes(bad="f") == ["-abcdefgh", "-efgh", "+gh", "-ef", "-f", "+e", "+abcd", "+abcdegh"]
    assert [found.name for found in stream.delta.take_found()] == ["f"]
    assert stream.delta.held is None


def test_two_culprits_are_found() -> None:
    stream = Stream(a_part(envoy.ENDPOINTS, **dict.fromkeys("abcd", "v1")))
    stream.ask("abcd")
    stream.takes(bad="ad")
    assert sorted(found.name for found in stream.delta.take_found()) == ["a", "d"]


def test_a_version_is_never_used_again_after_a_refusal() -> None:
    """What is tried again has a salted version; what is said again at the end has its own."""
    stream = Stream(a_part(envoy.ENDPOINTS, a="v1", b="v1"))
    stream.ask("ab")
    own = versions(a="v1", b="v1")
    seen: list[dict[str, str]] = []
    for moment in (0.0, 0.0, 0.0, 0.0, 8.0, 24.0):
        stream.now = moment
        response = stream.next()
        assert response is not None
        seen.append(versions_in(response))
        stream.say(response, "no" if "b" in response.names else "")
    assert [list(each) for each in seen] == [["a", "b"], ["b"], ["a"], ["a"], ["b"], ["b"]]
    assert seen[3] == {"a": own["a"]}
    refused = [each["b"] for each in seen if "b" in each]
    assert len(set(refused)) == len(refused)
    assert [version for version in refused if version == own["b"]] == [own["b"]]


def test_removals_of_a_refused_response_are_said_again() -> None:
    stream = Stream(V1)
    stream.ask("abc")
    stream.take()
    stream.delta.aim((V2,))
    response = stream.next()
    assert response is not None
    assert brief(response) == ("a", "c")
    stream.say(response, "no")
    assert stream.take() == ("", "c")


def test_new_bytes_are_tried_at_once() -> None:
    stream = Stream(V1)
    stream.ask("a")
    stream.takes(bad="a")
    stream.delta.aim((V2,))
    assert stream.take() == ("a", "")
    assert stream.delta.held == (V2,)


def test_a_target_that_returns_to_refused_bytes_is_not_believed() -> None:
    stream = Stream(V1)
    stream.ask("ab")
    stream.takes(bad="a")
    back = a_part(envoy.ENDPOINTS, a="v1", b="v2")
    stream.delta.aim((back,))
    assert stream.take() == ("b", "")


def test_names_refused_only_together_are_left_in_peace_for_a_while() -> None:
    stream = Stream(a_part(envoy.ENDPOINTS, a="v1", b="v1"))
    stream.ask("ab")
    story = []
    while (response := stream.next()) is not None:
        stream.say(response, "clash" if len(response.names) == 2 else "")
        story.append(brief(response)[0])
    assert story == ["ab", "b", "a", "ab"]
    assert [found.name for found in stream.delta.take_found()] == [""]
    assert stream.delta.due(0.0) == 8.0
    stream.now = 8.0
    assert stream.take() == ("ab", "")


def test_a_refused_name_that_is_withheld_is_not_removed() -> None:
    """A proxy that runs older bytes keeps them while nobody can take the newer ones."""
    stream = Stream(V1)
    stream.ask("abc", versions=versions(a="v0", b="v1", c="v1"))
    stream.takes(bad="a")
    rest = {name: resource for name, resource in V1.resources.items() if name != "a"}
    stream.delta.aim((ReducedPart(envoy.ENDPOINTS, rest, frozenset("a")),))
    assert stream.take() == ("", "")
    stream.delta.aim((Part(envoy.ENDPOINTS, rest),))
    assert stream.take() == ("", "a")


def test_equal_steps_are_one_object_for_all_streams() -> None:
    """Bodies are made once per step, whatever the number of streams; the nonce is part of them."""
    bodies = Bodies()
    streams = [Stream(V1, bodies=bodies) for _ in range(50)]
    messages: list[list[Any]] = [[], []]
    for stream in streams:
        stream.ask("abc")
        response = stream.next()
        assert response is not None
        messages[0].append(response.message)
        stream.say(response)
        stream.delta.aim((V2,))
        response = stream.next(losses=False)
        assert response is not None
        messages[1].append(response.message)
    assert [len({id(message) for message in each}) for each in messages] == [1, 1]
    assert (bodies.built, bodies.sent) == (2, 100)


def test_consecutive_responses_have_different_nonces() -> None:
    stream = Stream(V1)
    stream.ask("a")
    nonces = []
    for _ in range(3):
        response = stream.next()
        assert response is not None
        stream.say(response)
        nonces.append(response.nonce)
        stream.ask("a")
    assert nonces[0] != nonces[1] != nonces[2]


def test_one_that_takes_at_last_what_it_refused_has_refused_nothing() -> None:
    """An address in use is free again: nothing more follows that could clear the state."""
    stream = Stream(a_part(envoy.ENDPOINTS, a="v1"))
    stream.ask("a")
    assert stream.takes(bad="a") == ["-a"]
    assert stream.delta.last_refusal == "no"
    stream.now = 100.0
    assert stream.takes(bad="") == ["+a"]
    assert stream.delta.last_refusal == ""


def test_a_search_that_is_not_over_is_still_a_refusal() -> None:
    stream = Stream(V1)
    stream.ask("abc")
    first = stream.next()
    assert first is not None
    stream.say(first, "no")
    half = stream.next()
    assert half is not None
    stream.say(half)
    assert stream.delta.last_refusal == "no"
