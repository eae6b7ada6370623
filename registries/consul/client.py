"""The one door to py-consul: asks one agent, and sorts what can go wrong.

py-consul's own methods hand out the index and drop every other header. That an answer was filtered for want
of a permission stands in a header, and an answer filtered down to nothing is not a registry without services:
so its HTTP client is asked directly. Reads are of Consul's mode *default*, which the leader answers: with
*stale* each server could answer from another moment, and indexes would go backwards.

Nothing here is believed: answers are bounded, redirects are not followed (aiohttp takes a token of Consul's
along to another host, as it knows only ``Authorization``), and environment variables do not name proxies.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import consul.aio
import consul.base

from mesh.errors import Unavailable
from mesh.kinds.registry_consul import Consul
from registries.consul.access import Access, reason
from registries.consul.pace import patience
from registries.consul.refusals import refusal

# Three blocking queries, eight probes and eight reads at once; an agent allows one client 200.
CONNECTIONS_MAX = 20
# A node takes about 340 bytes and an instance 450 (measured with some meta): room for 150,000 of either,
# while what answers without end does not take the process with it.
ANSWER_BYTES_MAX = 64 * 1024 * 1024
_REFUSAL_BYTES_MAX = 64 * 1024
# Reading 64 KiB of JSON takes a millisecond; more is not for the loop.
_SMALL = 64 * 1024
_PARTING_S = 1.0
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: the index it is of, and whether something was left out for want of a permission."""

    index: int
    body: Any
    is_filtered: bool
    is_closed: bool
    """Whether ACLs deny by default: an empty answer then may mean that nothing may be seen."""


class Client:
    """One agent, asked for one datacenter, partition and namespace. Used as a context."""

    def __init__(self, to: Access, settings: Consul, *, limit: timedelta) -> None:
        """``limit``: how long an answer may take, on top of what it was asked to wait."""
        self._name, self._limit = to.address, limit
        self._consul = _Consul(to)
        self._headers = {"X-Consul-Token": to.token} if to.token else {}
        # Open source servers refuse the last two, so only what is said is asked for.
        asked = {"dc": settings.datacenter, "partition": settings.partition, "ns": settings.namespace}
        self._scope = [(key, value) for key, value in asked.items() if value]
        self._asked: set[asyncio.Task[consul.base.Response]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consul.close()
        if self._asked:
            _, late = await asyncio.wait(self._asked, timeout=_PARTING_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_PARTING_S)

    async def ask(
        self,
        path: str,
        *,
        only: str = "",
        after: int = 0,
        wait: timedelta = timedelta(),
        is_consistent: bool = False,
    ) -> Reply:
        """What Consul says of ``path`` now, or once it is newer than index ``after``, or after ``wait``.

        ``only`` is an expression in Consul's filter language; it changes the body and not the index.
        ``is_consistent``: only a leader answers that has read all of its log.

        :raises Unavailable: when it does not answer, or not as Consul does.
        :raises Misconfigured: when it answers that it may not, or cannot ever.
        """
        query = list(self._scope)
        limit = self._limit
        if only:
            query.append(("filter", only))
        if is_consistent:
            query.append(("consistent", ""))
        if after:
            query += [("index", str(after)), ("wait", f"{round(wait.total_seconds() * 1000)}ms")]
            limit += patience(wait)
        # A TLS handshake that is cancelled leaves its socket open (asyncio of Python 3.11). So a request is
        # never cancelled: it ends with its client, which waits for it.
        answer = self._consul.http.get(
            _as_it_is, path, params=query, headers=self._headers, connections_timeout=limit.total_seconds()
        )
        task: asyncio.Task[consul.base.Response] = asyncio.create_task(answer)
        self._asked.add(task)
        task.add_done_callback(self._ended)
        try:
            response = await asyncio.shield(task)
        except TimeoutError as error:
            seconds = limit.total_seconds()
            raise Unavailable(f"Consul at {self._name} did not answer {path} within {seconds:g} s") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unavailable(
                f"the certificate of Consul at {self._name} is not trusted: "
                f"{_reason(error.certificate_error)}",
                hint="ca.crt of its credentials must hold the authority that issued it",
            ) from error
        except _Endless as error:
            raise Unavailable(
                f"what Consul at {self._name} answers to {path} has more than {error} bytes",
                hint="check the address of the registry",
            ) from error
        except (aiohttp.ClientError, OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"cannot ask Consul at {self._name}: {_reason(error)}") from error
        return await self._reply(response)

    def _ended(self, task: asyncio.Task[consul.base.Response]) -> None:
        self._asked.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has it; nobody does when the connection is given up

    async def _reply(self, response: consul.base.Response) -> Reply:
        headers = response.headers
        if response.code != 200:
            raise refusal(self._name, response.code, response.body)
        try:
            index = int(headers["X-Consul-Index"])
            is_small = len(response.body) <= _SMALL
            body = _json(response.body) if is_small else await asyncio.to_thread(_json, response.body)
        except (KeyError, ValueError, RecursionError) as error:
            raise Unavailable(
                f"what answers at {self._name} is not Consul: no index, or no JSON",
                hint="check the address of the registry",
            ) from error
        return Reply(
            index=index,
            body=body,
            is_filtered=headers.get("X-Consul-Results-Filtered-By-Acls", "") == "true",
            is_closed=headers.get("X-Consul-Default-Acl-Policy", "") == "deny",
        )


def _json(text: str) -> Any:
    # Python's scanner keeps the interpreter's lock from the first byte to the last, in a thread as anywhere:
    # with a hook that is Python, others have their turn at each object.
    return json.loads(text, object_hook=_itself)


def _itself(found: dict[str, Any]) -> dict[str, Any]:
    return found


def _as_it_is(response: consul.base.Response) -> consul.base.Response:
    return response


class _Endless(Exception):
    """An answer is longer than so many bytes."""


class _Http(consul.aio.HTTPClient):  # type: ignore[misc]  # py-consul has no types
    """py-consul's, with a session and a way of asking of our own.

    Its constructor hands aiohttp arguments that are deprecated, and trusts the authorities of the system
    beside the one that was given; it follows redirects, and reads whatever comes.
    """

    def __init__(self, to: Access) -> None:
        parts = urlsplit(to.address)
        host = parts.hostname or ""
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        consul.base.HTTPClient.__init__(self, f"[{host}]" if ":" in host else host, port, parts.scheme)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=to.context or True)
        # Environment variables such as HTTP_PROXY have no say.
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )

    async def _request(
        self,
        callback: Callable[[consul.base.Response], consul.base.Response],
        method: str,
        uri: str,
        headers: Mapping[str, str] | None,
        data: str | None = None,
        connections_timeout: float | None = None,
        raw: bool = False,  # noqa: ARG002 (the library's signature)
    ) -> consul.base.Response:
        limit = aiohttp.ClientTimeout(total=connections_timeout)
        async with self._session.request(
            method, uri, headers=headers, data=data, timeout=limit, allow_redirects=False
        ) as response:
            body = await _bounded(
                response, ANSWER_BYTES_MAX if response.status == 200 else _REFUSAL_BYTES_MAX
            )
        return callback(consul.base.Response(response.status, response.headers, body.decode()))


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytearray:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise _Endless(most)
    return body


class _Consul(consul.aio.Consul):  # type: ignore[misc]  # py-consul has no types
    """py-consul's client. Tokens go with each request: in it, CONSUL_HTTP_TOKEN would win over ours."""

    def __init__(self, to: Access) -> None:
        self._to = to
        super().__init__(host="", port=0, scheme="http", verify=True)

    def http_connect(self, *_: object) -> _Http:
        return _Http(self._to)


def _reason(error: BaseException) -> str:
    return reason(error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error)
