"""The bookinfo programs: productpage, details, reviews and ratings, one process per instance.

They are what a user's own services would be: plain HTTP servers of the standard library that know
nothing of the mesh. They listen on loopback, and they call each other by the names of the mesh through
the HTTP proxy port of their sidecar. Run as ``python -m reconciler.demo.services reviews --listen ...``.

A program answers even when those behind it do not: what is missing is named in the answer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from reconciler.demo import pages

DOMAIN = "bookinfo.svc.cluster.local"
PORT = 9080

# What a service passes on of the request it answers: who asks, and what ties the calls together.
FORWARDED = (
    "end-user",
    "user-agent",
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "traceparent",
    "tracestate",
)

CALL_TIMEOUT_S = 6.0

STARS = {"v2": "black", "v3": "red"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answers: JSON, or HTML when a person asks."""

    body: Any
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as the services see it."""

    path: str
    headers: Mapping[str, str]
    instance: str
    version: str
    proxy: tuple[str, int]

    def ask(self, service: str, path: str) -> dict[str, Any]:
        """What another service answers, or ``{"error": ...}`` saying why there is none."""
        connection = http.client.HTTPConnection(*self.proxy, timeout=CALL_TIMEOUT_S)
        try:
            connection.request("GET", f"http://{service}.{DOMAIN}:{PORT}{path}", headers=dict(self.headers))
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                return _missing(service, f"status {response.status}", response.status)
            answer: dict[str, Any] = json.loads(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return _missing(service, str(error) or type(error).__name__, 0)
        finally:
            connection.close()
        return answer


def _missing(service: str, why: str, status: int) -> dict[str, Any]:
    return {"error": f"{service} is unavailable: {why}", "status": status}


def details(call: Call) -> Answer:
    """What is known of the book."""
    return Answer(
        {
            "id": 0,
            "author": "William Shakespeare",
            "year": 1595,
            "type": "paperback",
            "pages": 200,
            "publisher": "PublisherA",
            "language": "English",
            "instance": call.instance,
        }
    )


def ratings(call: Call) -> Answer:
    """Stars by reviewer."""
    return Answer({"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}, "instance": call.instance})


def reviews(call: Call) -> Answer:
    """Two reviews. v1 knows no stars, v2 shows black ones, v3 red ones."""
    answer: dict[str, Any] = {
        "id": 0,
        "version": call.version,
        "instance": call.instance,
        "reviews": [
            {"reviewer": "Reviewer1", "text": "An extremely entertaining play by Shakespeare."},
            {"reviewer": "Reviewer2", "text": "Absolutely fun and entertaining."},
        ],
    }
    if call.version in STARS:
        rated = call.ask("ratings", "/ratings/0")
        answer["ratings"] = rated | {"color": STARS[call.version]}
        for review in answer["reviews"]:
            review["stars"] = rated.get("ratings", {}).get(review["reviewer"])
    return Answer(answer)


def productpage(call: Call) -> Answer:
    """The page, made of what details and reviews say."""
    asked = urlsplit(call.path)
    if asked.path not in ("/productpage", "/api/v1/products/0"):
        return Answer({"error": f"no page {asked.path}"}, 404)
    # A browser cannot set a header of ours, so the page takes the user's name from a link too.
    user = parse_qs(asked.query).get("u", [call.headers.get("end-user", "")])[0]
    call = Call(
        path=call.path,
        headers=dict(call.headers) | ({"end-user": user} if user else {}),
        instance=call.instance,
        version=call.version,
        proxy=call.proxy,
    )
    return Answer(
        {
            "product": "The Comedy of Errors",
            "user": user,
            "instance": call.instance,
            "details": call.ask("details", "/details/0"),
            "reviews": call.ask("reviews", "/reviews/0"),
        }
    )


SERVICES = {"productpage": productpage, "details": details, "reviews": reviews, "ratings": ratings}


class Service(BaseHTTPRequestHandler):
    """Answers GET by calling the function of its service."""

    protocol_version = "HTTP/1.1"
    # Head and body leave in two writes; without this the second waits for an acknowledgement.
    disable_nagle_algorithm = True
    service = "productpage"
    version = "v1"
    proxy = ("127.0.0.1", 15001)

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(Answer({"status": "healthy"}))
            return
        call = Call(
            path=self.path,
            headers={name: value for name in FORWARDED if (value := self.headers.get(name))},
            instance=f"{self.service}-{self.version}",
            version=self.version,
            proxy=self.proxy,
        )
        self.reply(SERVICES[self.service](call))

    def reply(self, answer: Answer) -> None:
        if self.service == "productpage" and "text/html" in self.headers.get("accept", ""):
            body, kind = pages.html(answer.body).encode(), "text/html; charset=utf-8"
        else:
            body, kind = json.dumps(answer.body).encode(), "application/json"
        self.send_response(answer.status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the standard library's name)
        """Requests are logged by the proxies."""


def handler(service: str, version: str, proxy: tuple[str, int]) -> type[Service]:
    """What answers for one instance."""
    return type("Instance", (Service,), {"service": service, "version": version, "proxy": proxy})


class Server(ThreadingHTTPServer):
    """One thread per connection; none of them outlives the program."""

    daemon_threads = True
    request_queue_size = 128


def address(text: str) -> tuple[str, int]:
    """``host:port``."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="reconciler.demo.services")
    parser.add_argument("service", choices=sorted(SERVICES))
    parser.add_argument("--version", default="v1")
    parser.add_argument("--listen", type=address, required=True)
    parser.add_argument("--http-proxy", type=address, required=True)
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    answering = handler(chosen.service, chosen.version, chosen.http_proxy)
    with Server(chosen.listen, answering) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
