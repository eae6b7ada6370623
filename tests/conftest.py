"""Runs ``async def`` tests and lends every test the fixtures of the support folder."""

from __future__ import annotations

import asyncio
import inspect

import pytest

pytest_plugins = ("tests.support.skips", "tests.servers.fixtures")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """An asynchronous test runs in a loop of its own, with a deadline so that none can hang.

    What a ``runner`` fixture lends it (programs that run through a module) belongs to that one's loop.
    """
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def bounded() -> None:
        async with asyncio.timeout(120):
            await pyfuncitem.obj(**arguments)

    match pyfuncitem.funcargs.get("runner"):
        case asyncio.Runner() as runner:
            runner.run(bounded())
        case _:
            asyncio.run(bounded())
    return True
