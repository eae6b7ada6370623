"""Asks a server of the demo in JSON over HTTP, and waits for it to begin."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp

from mesh.clock import Clock
from mesh.errors import Unavailable
from reconciler.demo.hybrid import patience
from reconciler.demo.processes import Processes

ASK_TIMEOUT_S = 10.0
START_LIMIT = timedelta(seconds=60)
_BEAT = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """The API of one server, and what is shown there."""

    name: str
    url: str
    session: aiohttp.ClientSession = field(repr=False)
    token: str = field(default="", repr=False)
    context: ssl.SSLContext | None = None

    async def ask(
        self, method: str, path: str, body: object = None, *, kind: str = "application/json"
    ) -> Any:
        """What it answers.

        :raises Unavailable: when it does not, or says no.
        """
        headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        try:
            async with self.session.request(
                method,
                f"{self.url}{path}",
                json=body,
                headers=headers,
                ssl=self.context or True,
                timeout=aiohttp.ClientTimeout(total=ASK_TIMEOUT_S),
            ) as response:
                if response.status >= 300:
                    raise Unavailable(
                        f"{self.name} answered {method} {path} with {response.status}: "
                        f"{(await response.text()).strip()}"
                    )
                text = await response.text()
                is_json = "json" in response.content_type
                return await response.json() if text and is_json else text
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{self.name} did not answer {method} {path}: {error!r}") from error

    async def until_answers(self, path: str, processes: Processes, clock: Clock) -> None:
        """Return when it has an answer there that is one.

        :raises Unavailable: when it ended, or takes too long.
        """

        async def look() -> bool | None:
            processes.check()
            try:
                return bool(await self.ask("GET", path)) or None
            except Unavailable:
                return None

        await patience.until(f"{self.name} to begin", look, clock, limit=START_LIMIT, beat=_BEAT)
