"""The steps are whole, and say in YAML what they expect in traffic."""

from __future__ import annotations

from pathlib import Path

from mesh.documents import parse_file
from reconciler.demo.repository import files
from reconciler.demo.steps import Course, Step, bookinfo

EXAMPLE = files(Path(__file__).parents[2] / "examples" / "bookinfo")
STEPS = bookinfo(EXAMPLE)


def step(name: str) -> Step:
    return next(step for step in STEPS if step.name == name)


def test_every_step_of_the_demo_is_there_in_order() -> None:
    assert [step.name for step in STEPS] == [
        "reviews 90/10",
        "reviews 50/50",
        "header match to v2",
        "delay fault",
        "abort fault",
        "reviews-v3 denied",
        "broken YAML",
        "revert",
        "at rest again",
    ]


def test_the_first_step_makes_the_repository_the_example() -> None:
    assert step("reviews 90/10").files == {"reviews.yaml": EXAMPLE["reviews.yaml"]}


def test_the_repository_ends_as_the_example() -> None:
    tree: dict[str, str | None] = dict(EXAMPLE)
    for each in STEPS:
        tree |= each.files

    assert {name: text for name, text in tree.items() if text is not None} == EXAMPLE


def test_only_the_broken_step_cannot_be_read() -> None:
    for each in STEPS:
        problems = [
            problem
            for name, text in each.files.items()
            if text is not None
            for problem in parse_file(name, text.encode())[1]
        ]
        assert bool(problems) == (each.course is Course.HELD), each.name


def test_a_held_commit_and_its_revert_expect_the_traffic_of_before() -> None:
    assert step("broken YAML").traffic == step("reviews-v3 denied").traffic == step("revert").traffic


def test_the_weights_that_are_written_are_the_shares_that_are_expected() -> None:
    for name in ("reviews 90/10", "reviews 50/50", "reviews-v3 denied"):
        text = step(name).files["reviews.yaml"]
        assert text is not None
        documents, _ = parse_file("reviews.yaml", text.encode())
        routes = documents[1].data["spec"]["http"][0]["route"]
        assert {route["destination"]["subset"]: route["weight"] for route in routes} == dict(
            step(name).traffic[0].shares
        )
