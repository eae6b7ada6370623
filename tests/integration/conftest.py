"""What the tests of failures share: one loop and one running mesh for the tests of a module."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from mesh.errors import Misconfigured
from reconciler.demo import envoy
from tests.support.live_meshes import LiveMesh, live_mesh

_START_LIMIT_S = 90


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """The loop in which a module's tests run; its processes and connections belong to it."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def mesh(runner: asyncio.Runner, raised_mesh: LiveMesh) -> LiveMesh:
    """A whole mesh that is up, whatever the test before did to it."""
    runner.run(raised_mesh.heal())
    return raised_mesh


@pytest.fixture(scope="module")
def raised_mesh(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMesh]:
    """The same for all tests of a module, because to raise it takes seconds."""
    try:
        envoy.find()
    except Misconfigured as error:
        pytest.skip(f"{error}: {error.hint}")
    folder = tmp_path_factory.mktemp("mesh")
    doors = AsyncExitStack()

    async def raised() -> LiveMesh:
        async with asyncio.timeout(_START_LIMIT_S):
            return await doors.enter_async_context(live_mesh(folder))

    try:
        yield runner.run(raised())
    finally:
        runner.run(doors.aclose())
