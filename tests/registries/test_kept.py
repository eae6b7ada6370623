"""The file of last answers: exact, small steps, and no reason to stop when it is lost."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.errors import Misconfigured, Unavailable
from mesh.services import Provider, Service, Workload
from registries.answers import Answer, Instance, Offer, Remark, Said
from registries.kept import Kept, KeptAnswers
from tests.support.answers import a_workload, an_answer, an_instance, an_offer

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TEXT = st.text(max_size=8)
# Of every field of these, also of those that will be added: a type says what its fields are.
WORKLOADS = st.builds(Workload)
INSTANCES = st.builds(Instance, workload=WORKLOADS)
OFFERS = st.builds(
    Offer,
    st.from_type(Service),
    st.lists(INSTANCES, max_size=3).map(tuple),
    st.lists(INSTANCES, max_size=2).map(tuple),
)
SAID = st.builds(
    Said, st.dictionaries(TEXT, OFFERS, max_size=2), st.dictionaries(TEXT, WORKLOADS, max_size=2)
).filter(lambda said: said.offers or said.workloads)
ANSWERS = st.builds(
    Answer,
    registry=st.just("vms"),
    namespaces=st.dictionaries(TEXT, SAID, max_size=2),
    remarks=st.lists(st.builds(Remark), max_size=2).map(tuple),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "registries.sqlite"


@pytest.fixture
def answers(file: Path) -> Iterator[KeptAnswers]:
    opened = KeptAnswers(file)
    yield opened
    opened.close()


def plain(answer: Answer) -> object:
    """All that it says, to be compared by value."""
    return (
        answer.registry,
        answer.provider,
        answer.remarks,
        {
            namespace: (
                {host: (o.service, o.instances, o.unready) for host, o in said.offers.items()},
                dict(said.workloads),
            )
            for namespace, said in answer.namespaces.items()
        },
    )


def reread(file: Path) -> dict[str, Kept]:
    again = KeptAnswers(file)
    try:
        return dict(again.load()[0])
    finally:
        again.close()


@given(st.lists(ANSWERS, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_kept_last_is_read_back_exactly(file: Path, said: list[Answer]) -> None:
    answers = KeptAnswers(file)
    answers.load()
    for answer in said:
        answers.save(answer, NOON)
    answers.close()

    kept = reread(file)["vms"]

    assert plain(kept.answer) == plain(said[-1])
    assert kept.heard_at == NOON


def test_each_registry_is_kept_by_itself(answers: KeptAnswers, file: Path) -> None:
    answers.save(an_answer({"web": [1]}, registry="a"), NOON)
    answers.save(an_answer({"web": [2]}, registry="b", provider=Provider.KUBERNETES), None)
    answers.save(an_answer({}, registry="c"), None)
    answers.forget("a")

    kept = reread(file)

    assert sorted(kept) == ["b", "c"]
    assert kept["b"].heard_at is None
    assert kept["b"].answer.provider is Provider.KUBERNETES
    assert not kept["c"].answer.namespaces


def test_a_change_writes_what_changed(answers: KeptAnswers, file: Path) -> None:
    first = an_answer({"web": range(5), "db": range(5, 8)})
    answers.save(first, NOON)
    said = first.said("shop")
    other = Answer(
        registry="vms",
        provider=Provider.CONSUL,
        namespaces={"shop": Said({**said.offers, "db": an_offer("db", [5])}, said.workloads)},
    )

    assert written(answers, lambda: answers.save(other, NOON)) == [("offers", "db"), ("registries", "vms")]
    assert plain(reread(file)["vms"].answer) == plain(other)


def test_after_a_restart_equal_values_are_not_written_again(answers: KeptAnswers, file: Path) -> None:
    answers.save(an_answer({"web": range(5)}), NOON)
    again = KeptAnswers(file)
    again.load()

    same = an_answer({"web": range(5)})
    assert written(again, lambda: again.save(same, NOON)) == [("registries", "vms")]
    again.close()


def written(answers: KeptAnswers, act: object) -> list[tuple[str, str]]:
    """The rows that were put, as SQLite itself tells."""
    found: list[tuple[str, str]] = []
    answers._db.set_trace_callback(
        lambda statement: found.append(_row(statement)) if statement.startswith("INSERT") else None
    )
    assert callable(act)
    act()
    answers._db.set_trace_callback(None)
    return sorted(found)


def _row(statement: str) -> tuple[str, str]:
    table, _, values = statement.removeprefix("INSERT OR REPLACE INTO ").partition(" VALUES (")
    texts = values.split(",")
    return table, (texts[0] if table == "registries" else texts[2]).strip(" '")


def test_what_is_read_shares_equal_values(answers: KeptAnswers, file: Path) -> None:
    workload = replace(a_workload(1), labels=(("app", "web"),))
    other = replace(a_workload(2), labels=(("app", "web"),))
    offer = an_offer("web", [Instance(workload=one, ports=((80, 8080),)) for one in (workload, other)])
    answers.save(an_answer([offer]), NOON)

    said = reread(file)["vms"].answer.said("shop")
    one, two = said.offers["web"].instances

    assert one.workload is said.workloads["w1"]
    assert one.workload.labels is two.workload.labels
    assert one.ports is two.ports


def test_only_its_owner_may_read_the_file(answers: KeptAnswers, file: Path) -> None:
    answers.save(an_answer({"web": [1]}), NOON)
    modes = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}
    assert modes == dict.fromkeys(
        ("registries.sqlite", "registries.sqlite-shm", "registries.sqlite-wal"), 0o600
    )


def test_whether_a_world_was_served_is_remembered(answers: KeptAnswers, file: Path) -> None:
    assert answers.load() == ({}, False)
    answers.note_served()
    answers.note_served()
    again = KeptAnswers(file)
    assert again.load() == ({}, True)
    again.close()


def spoil_as_text(file: Path) -> None:
    file.write_bytes(b"not a database at all, but long enough to look at" * 100)


def spoil_a_body(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("UPDATE offers SET body = '{\"service\": 3}'")
    db.close()


def spoil_the_version(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()


def spoil_whether_a_world_was_served(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("DROP TABLE served")
    db.close()


@pytest.mark.parametrize(
    "spoil", [spoil_as_text, spoil_a_body, spoil_the_version, spoil_whether_a_world_was_served]
)
def test_a_file_that_cannot_be_read_is_moved_aside_and_the_mesh_goes_on(
    spoil: object, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = KeptAnswers(file)
    first.save(an_answer({"web": [1]}), NOON)
    first.note_served()
    first.close()
    assert callable(spoil)
    spoil(file)

    with caplog.at_level(logging.WARNING):
        second = KeptAnswers(file)
        # Nobody knows any more who was served: every registry is waited for.
        assert second.load() == ({}, False)

    assert caplog.messages == [
        "kept answers unreadable; every registry must answer before anything is served"
    ]
    assert file.with_name("registries.sqlite.unreadable").exists()
    second.save(an_answer({"web": [2]}), NOON)
    second.close()
    assert sorted(reread(file)) == ["vms"]


def test_a_full_disk_keeps_what_was_kept_before(answers: KeptAnswers, file: Path) -> None:
    answers.save(an_answer({"web": [1]}), NOON)
    answers._db.execute("PRAGMA max_page_count = 1")

    with pytest.raises(Unavailable) as raised:
        answers.save(an_answer({"web": [an_instance(n) for n in range(500)]}), NOON)

    assert str(raised.value) == (
        f"could not keep what registry 'vms' says in {file}: database or disk is full"
    )
    assert raised.value.hint == "make room on the disk and check who may write there"
    assert len(reread(file)["vms"].answer.said("shop").offers["web"].instances) == 1
    answers._db.execute("PRAGMA max_page_count = 100000")
    answers.save(an_answer({"web": range(500)}), NOON)
    assert reread(file)["vms"].answer.instances == 500


def test_a_place_that_cannot_hold_the_file_is_the_operators_to_mend(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as raised:
        KeptAnswers(tmp_path / "nowhere" / "registries.sqlite")
    assert str(raised.value).startswith(f"cannot keep answers in {tmp_path}/nowhere/registries.sqlite: ")


def test_a_disk_that_is_full_at_the_start_does_not_stop_the_daemon(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as full, caplog.at_level(logging.WARNING):
        full.setattr("os.open", _no_room)
        answers = KeptAnswers(file)
        assert answers.load() == ({}, False)
        with pytest.raises(Unavailable) as raised:
            answers.save(an_answer({"web": [1]}), NOON)
    assert str(raised.value) == (
        f"could not keep what registry 'vms' says in {file}: [Errno 28] No space left on device"
    )
    assert caplog.messages == [
        "answers cannot be kept now; every registry must answer before anything is served"
    ]

    answers.save(an_answer({"web": [2]}), NOON)
    answers.close()
    assert sorted(reread(file)) == ["vms"]


def _no_room(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_text_that_is_none_is_not_kept_and_ends_nobody(answers: KeptAnswers, file: Path) -> None:
    answers.save(an_answer({"web": [1]}), NOON)
    half = replace(a_workload(1), labels=(("app", "\ud800"),))

    with pytest.raises(Unavailable) as raised:
        answers.save(an_answer([an_offer("web", [Instance(workload=half, ports=())])]), NOON)

    assert str(raised.value).startswith(f"could not keep what registry 'vms' says in {file}: 'utf-8' codec")
    assert reread(file)["vms"].answer.said("shop").workloads["w1"].labels == ()
