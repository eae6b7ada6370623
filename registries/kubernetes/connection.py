"""A connection to one API server that outlives its credentials.

What is done over it is handed in, and begun again whenever another connection is needed. A changed token is
used from the next request on; a changed server, CA or client certificate needs a new connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import NoReturn, Protocol

from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured, Unavailable
from registries.kubernetes.access import Access, Credentials
from registries.kubernetes.api import Api
from registries.kubernetes.client import Client
from registries.kubernetes.reflector import PACE, Pace
from registries.waits import first

log = logging.getLogger(__name__)

CREDENTIALS_READ = timedelta(seconds=30)
"""How often it is looked whether the credentials have changed."""


class Line(Api, Protocol):
    """An open connection: what is asked over it carries the token in force."""

    token: str


Connect = Callable[[Credentials], AbstractAsyncContextManager[Line]]


class _Outdated(Exception):
    """Ends what is done over one connection, for another is needed."""


class Connection:
    """Owned by the task that runs it. :attr:`refused` is set by whoever was answered 401."""

    def __init__(
        self,
        name: str,
        access: Access,
        clock: Clock,
        *,
        connect: Connect = Client,
        pace: Pace = PACE,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """:param name: of the registry, for the log."""
        self._name, self._access, self.clock, self._connect = name, access, clock, connect
        self.pace, self.chance = pace, chance
        self.refused = asyncio.Event()

    async def run(
        self, work: Callable[[Line], Awaitable[NoReturn]], trouble: Callable[[MeshError | None], None]
    ) -> NoReturn:
        """Do ``work`` over a connection, for ever.

        :param trouble: told why there is no connection, and ``None`` when there is one again.
        """
        failures = 0
        while True:
            try:
                credentials = await self._access.read(is_refused=self.refused.is_set())
                self.refused.clear()
                connection = self._connect(credentials)
            except (Unavailable, Misconfigured) as error:
                failures += 1
                trouble(error)
                await self.clock.sleep(self.pace.backoff(failures, self.chance()))
                continue
            failures = 0
            trouble(None)
            try:
                async with connection as line, asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._run_credentials(line, credentials))
                    await work(line)
            except* _Outdated:
                log.info("registry reconnects", extra={"registry": self._name})

    async def _run_credentials(self, line: Line, known: Credentials) -> NoReturn:
        """Look for changed credentials now and then, and at once when they were refused."""
        refusals = 0
        while True:
            await first(self.refused.wait(), self.clock.sleep(CREDENTIALS_READ))
            refusals = refusals + 1 if self.refused.is_set() else 0
            try:
                found = await self._access.read(is_refused=refusals > 0)
            except (Unavailable, Misconfigured) as error:
                # What is in use may go on working; the reflectors say when it does not.
                told = {"registry": self._name, "error": str(error), "hint": error.hint}
                log.warning("credentials cannot be read", extra=told)
            else:
                if found.server != known.server:
                    raise _Outdated
                line.token = found.token
            if refusals:
                # All reflectors were refused by now, and for the same reason.
                await self.clock.sleep(self.pace.backoff(refusals, self.chance()))
                self.refused.clear()
