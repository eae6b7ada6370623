from __future__ import annotations

import asyncio

import pytest

from mesh.latest import Latest


async def test_a_reader_waits_for_something_newer() -> None:
    latest = Latest("a")
    waiting = asyncio.create_task(latest.newer_than(0))
    await asyncio.wait({waiting}, timeout=0)
    assert not waiting.done()

    latest.publish("b")

    assert await waiting == (1, "b")


async def test_a_slow_reader_skips_to_the_newest() -> None:
    latest = Latest(0)
    for value in range(1, 6):
        latest.publish(value)

    assert await latest.newer_than(0) == (5, 5)


async def test_every_reader_is_told() -> None:
    latest = Latest("a")
    waiting = [asyncio.create_task(latest.newer_than(0)) for _ in range(3)]
    await asyncio.wait(waiting, timeout=0)
    latest.publish("b")

    assert await asyncio.gather(*waiting) == [(1, "b")] * 3


async def test_an_equal_value_is_no_news() -> None:
    latest = Latest((1, 2))
    latest.publish((1, 2))

    assert latest.version == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await latest.newer_than(0)


async def test_the_first_value_is_newer_than_nothing() -> None:
    assert await Latest("a").newer_than(-1) == (0, "a")


async def test_a_reader_that_gives_up_disturbs_nobody() -> None:
    latest = Latest("a")
    gone, stays = (asyncio.create_task(latest.newer_than(0)) for _ in range(2))
    await asyncio.wait({gone, stays}, timeout=0)
    gone.cancel()
    latest.publish("b")

    assert await stays == (1, "b")
