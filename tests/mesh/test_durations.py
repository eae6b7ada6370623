from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.durations import MILLION, format_duration, parse_duration, parts_per_million, spoken_duration


@given(st.timedeltas())
def test_a_duration_is_read_as_it_is_written(value: timedelta) -> None:
    assert parse_duration(format_duration(value)) == value


@given(
    hours=st.integers(0, 1000), minutes=st.integers(0, 59), seconds=st.integers(0, 59), ms=st.integers(0, 999)
)
def test_the_parts_of_a_go_duration_add_up(hours: int, minutes: int, seconds: int, ms: int) -> None:
    expected = timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=ms)

    assert parse_duration(f"{hours}h{minutes}m{seconds}s{ms}ms") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta(0)),
        ("-0", timedelta(0)),
        ("1.5s", timedelta(seconds=1.5)),
        (".5s", timedelta(seconds=0.5)),
        ("1.s", timedelta(seconds=1)),
        ("-1.5h", timedelta(hours=-1.5)),
        ("1m0.25s", timedelta(seconds=60.25)),
        ("3us", timedelta(microseconds=3)),
        ("3µs", timedelta(microseconds=3)),
        ("2500ns", timedelta(microseconds=2)),
    ],
)
def test_the_spellings_of_go_are_understood(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "-", ".", "1", "s", ".s", "1h-3m", "--1s", "1d", "1 s", " 1s", "1s ", "1s1", "1,5s", "١s", "1e3s"],
)
def test_what_is_no_duration_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_duration(text)

    assert str(error.value) == f"not a duration: {text!r}"


@pytest.mark.parametrize("text", ["99999999999999h", "-99999999999999h"])
def test_a_duration_beyond_all_bounds_is_a_mistake_and_no_crash(text: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_duration(text)

    assert str(error.value) == f"too long a duration: {text!r}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (timedelta(0), "0s"),
        (timedelta(minutes=5), "300s"),
        (timedelta(milliseconds=-1500), "-1.5s"),
        (timedelta(microseconds=1), "0.000001s"),
    ],
)
def test_durations_are_written_in_seconds(value: timedelta, expected: str) -> None:
    assert format_duration(value) == expected


@pytest.mark.parametrize(
    ("value", "spoken"),
    [
        (timedelta(0), "0s"),
        (timedelta(days=7), "168h"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(seconds=3601), "1h1s"),
        (timedelta(seconds=1.5), "1.5s"),
        (timedelta(minutes=1, milliseconds=300), "1m0.3s"),
        (timedelta(seconds=-90), "-1m30s"),
    ],
)
def test_people_are_told_a_time_in_its_own_units(value: timedelta, spoken: str) -> None:
    assert spoken_duration(value) == spoken
    assert parse_duration(spoken) == value


@given(st.integers(0, MILLION))
def test_a_percentage_of_four_decimals_is_kept_exactly(millionths: int) -> None:
    assert parts_per_million(f"{millionths / 10_000:.4f}") == millionths
    assert parts_per_million(millionths / 10_000) == millionths


@pytest.mark.parametrize("percent", ["-1", "100.1", "NaN", float("nan"), float("inf"), "-Infinity"])
def test_a_percentage_is_between_0_and_100(percent: float | str) -> None:
    with pytest.raises(ValueError) as error:
        parts_per_million(percent)

    assert str(error.value) == f"not between 0 and 100: {percent!r}"


@pytest.mark.parametrize("percent", ["", "half", "10%"])
def test_a_percentage_is_a_number(percent: str) -> None:
    with pytest.raises(ValueError) as error:
        parts_per_million(percent)

    assert str(error.value) == f"not a percentage: {percent!r}"
