"""A user's pushes are told, one line for each thing that happens."""

from __future__ import annotations

from reconciler.demo.follow import Follower
from reconciler.demo.standing import Held, Status

OLD, NEW = "1" * 40, "2" * 40


def a_status(
    revision: str = OLD,
    *,
    live: str = OLD,
    acknowledged: int = 7,
    problems: tuple[str, ...] = (),
    acknowledged_at_ms: int | None = 1063,
    refused: tuple[str, ...] = (),
) -> Status:
    return Status(
        revision=revision,
        held=(Held(accepted=OLD, problems=problems),) if problems else (),
        live=live,
        acknowledged=acknowledged,
        connected=7,
        pushed_at_ms=1000,
        acknowledged_at_ms=acknowledged_at_ms,
        refused=refused,
    )


def told(*statuses: Status) -> list[str]:
    follower = Follower(seen=OLD, live=OLD)
    return [line for status in statuses for line in follower.tell(status)]


def test_nothing_is_told_while_nothing_happens() -> None:
    assert told(a_status(), a_status()) == []


def test_a_push_is_told_when_it_is_seen_and_when_it_is_live_everywhere() -> None:
    assert told(
        a_status(NEW),
        a_status(NEW, live=NEW, acknowledged=3, acknowledged_at_ms=None),
        a_status(NEW, live=NEW),
        a_status(NEW, live=NEW),
    ) == ["2222222  seen", "2222222  live on 7 of 7, 63 ms after it was pushed to them"]


def test_a_held_push_is_told_once_with_its_problems() -> None:
    held = a_status(NEW, problems=("reviews.yaml:14: error IST0101: no subset 'v4'",))

    assert told(held, held) == [
        "2222222  seen",
        "2222222  held; 1111111 stays live",
        "         reviews.yaml:14: error IST0101: no subset 'v4'",
    ]


def test_a_refusal_is_told_once() -> None:
    refused = a_status(refused=("web-1.shop refuses 18080: port in use",))

    assert told(refused, refused) == ["1111111  web-1.shop refuses 18080: port in use"]


def test_a_push_after_a_held_one_is_told_as_any_other() -> None:
    held = a_status(NEW, live=NEW, problems=("reviews.yaml:14: MW0001: cannot be read",))

    assert told(held, a_status("3" * 40, live="3" * 40))[-2:] == [
        "3333333  seen",
        "3333333  live on 7 of 7, 63 ms after it was pushed to them",
    ]


def test_a_held_push_is_not_told_as_live_when_the_next_is_seen() -> None:
    held = a_status(NEW, live=NEW, problems=("reviews.yaml:14: MW0001: cannot be read",))
    seen = a_status("3" * 40, live=NEW)

    assert told(held, seen)[3:] == ["3333333  seen"]
