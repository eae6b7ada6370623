"""Asks the daemon over its socket, for commands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from mesh.errors import Misconfigured, Refused, Unavailable

_LIMIT_S = 10.0


def ask(state: Path, path: str, *, method: str = "GET") -> Any:
    """The daemon's answer, as JSON.

    :raises Unavailable: when no daemon answers there.
    :raises Misconfigured: when it does not know what was asked for.
    :raises Refused: when it will not do it.
    """
    return asyncio.run(_ask(state / "admin.sock", path, method))


async def _ask(socket: Path, path: str, method: str) -> Any:
    try:
        async with (
            asyncio.timeout(_LIMIT_S),
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket))) as session,
            session.request(method, f"http://meshwright{path}") as response,
        ):
            answer = await response.json()
    except TimeoutError as error:
        raise Unavailable(
            f"the control plane did not answer within {_LIMIT_S:.0f} s", hint="look at its log"
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(
            f"no control plane answers at {socket}",
            hint="is `meshwright serve` running with this --state, and as this user?",
        ) from error
    if response.status == 409:
        raise Refused(str(answer["error"]), hint=answer["hint"])
    if response.status != 200:
        raise Misconfigured(str(answer.get("error", response.reason)), hint="list them: meshwright proxies")
    return answer
