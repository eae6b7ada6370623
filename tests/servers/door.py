"""Plain JSON over HTTP to a test server; none of our own clients, which are what is tested."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

_TIMEOUT_S = 20.0


class Answered(AssertionError):
    """A server said no."""

    def __init__(self, status: int, text: str, asked: str) -> None:
        super().__init__(f"{asked}: {status} {text.strip()}")
        self.status, self.text = status, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One address of a server, and what is shown there on every call."""

    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    context: ssl.SSLContext | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = _TIMEOUT_S,
        **query: Any,
    ) -> Any:
        """What it answers, as JSON where it is JSON; a parameter ``None`` is left out."""
        given = {name.replace("_", "-"): value for name, value in query.items() if value is not None}
        target = f"{path}?{urlencode(given)}" if given else path
        connection = (
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
            if self.context is None
            else http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout_s, context=self.context)
        )
        try:
            connection.request(
                method,
                target,
                None if body is None else json.dumps(body),
                {"Content-Type": "application/json", **self.headers, **(headers or {})},
            )
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status >= 300:
            raise Answered(response.status, text, f"{method} {path}")
        return json.loads(text) if text.lstrip()[:1] in ("{", "[", '"') else text.strip()

    def answers(self, path: str, **query: Any) -> bool:
        """Whether it answers at all, and not with an error."""
        try:
            self.ask("GET", path, timeout_s=2.0, **query)
        except (OSError, http.client.HTTPException, Answered):
            return False
        return True
