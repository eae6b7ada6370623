"""The bookinfo programs answer, and say what is missing when others do not."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import pytest

from reconciler.demo import pages
from reconciler.demo.requests import read
from reconciler.demo.services import SERVICES, Answer, Call, Server, Service, handler

Address = tuple[str, int]


@contextmanager
def serving(kind: type[Any]) -> Iterator[Address]:
    with Server(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield cast("Address", server.server_address)
        finally:
            server.shutdown()
            thread.join()


class Mesh(Service):
    """Stands for a sidecar's HTTP proxy: takes absolute URLs, answers for the services behind it."""

    failing: dict[str, int]
    heard: list[dict[str, str]]

    def do_GET(self) -> None:  # noqa: N802 (the name the standard library looks for)
        service = self.path.removeprefix("http://").split(".")[0]
        self.heard.append(dict(self.headers))
        if status := self.failing.get(service):
            self.reply(Answer({}, status))
        else:
            call = Call(path=self.path, headers={}, instance=f"{service}-v2", version="v2", proxy=self.own())
            self.reply(SERVICES[service](call))

    def own(self) -> Address:
        return cast("Address", self.server.server_address)


def ask(address: Address, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): v for name, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture
def mesh() -> Iterator[tuple[type[Mesh], Address]]:
    kind = type("TestMesh", (Mesh,), {"failing": {}, "heard": [], "service": "mesh"})
    with serving(kind) as address:
        yield kind, address


@pytest.fixture
def productpage(mesh: tuple[type[Mesh], Address]) -> Iterator[Address]:
    with serving(handler("productpage", "v1", mesh[1])) as address:
        yield address


def page(address: Address, **headers: str) -> dict[str, Any]:
    status, body = ask(address, "/productpage", accept="application/json", **headers)
    assert status == 200
    answer: dict[str, Any] = json.loads(body)
    return answer


def test_productpage_shows_who_answered_and_the_stars(productpage: Address) -> None:
    answer = page(productpage)

    assert answer["details"]["author"] == "William Shakespeare"
    assert answer["reviews"]["instance"] == "reviews-v2"
    assert answer["reviews"]["ratings"]["color"] == "black"
    assert [review["stars"] for review in answer["reviews"]["reviews"]] == [5, 4]


def test_reviews_v1_does_not_ask_for_ratings(mesh: tuple[type[Mesh], Address]) -> None:
    with serving(handler("reviews", "v1", mesh[1])) as address:
        _, body = ask(address, "/reviews/0")

    assert "ratings" not in json.loads(body)
    assert mesh[0].heard == []


def test_the_users_name_is_passed_on_to_everyone(
    mesh: tuple[type[Mesh], Address], productpage: Address
) -> None:
    page(productpage, end_user="jason")

    assert [heard["end-user"] for heard in mesh[0].heard[:2]] == ["jason", "jason"]


def test_headers_that_are_nobodys_business_are_not_passed_on(
    mesh: tuple[type[Mesh], Address], productpage: Address
) -> None:
    page(productpage, authorization="Bearer secret", x_request_id="7")

    assert "authorization" not in mesh[0].heard[0]
    assert mesh[0].heard[0]["x-request-id"] == "7"


def test_what_fails_is_named_in_the_page(mesh: tuple[type[Mesh], Address], productpage: Address) -> None:
    mesh[0].failing["ratings"] = 403

    ratings = page(productpage)["reviews"]["ratings"]

    assert ratings == {"error": "ratings is unavailable: status 403", "status": 403, "color": "black"}


def test_a_mesh_that_is_not_there_is_named_too() -> None:
    with serving(handler("productpage", "v1", ("127.0.0.1", 1))) as address:
        answer = page(address)

    assert answer["reviews"] == {
        "error": "reviews is unavailable: [Errno 111] Connection refused",
        "status": 0,
    }


def test_a_person_gets_a_page(productpage: Address) -> None:
    status, body = ask(productpage, "/productpage?u=jason", accept="text/html,*/*")

    assert status == 200
    assert "Signed in as <b>jason</b>" in body
    assert '<span class="black">&#9733;&#9733;&#9733;&#9733;&#9733;</span>' in body


def test_what_a_user_calls_himself_cannot_become_part_of_the_page() -> None:
    answer = {
        "product": "The Comedy of Errors",
        "user": "<script>",
        "details": {"error": "details is unavailable"},
        "reviews": {"error": "reviews is unavailable"},
    }

    assert "&lt;script&gt;" in pages.html(answer)
    assert "<script>" not in pages.html(answer)


def test_another_path_is_not_found(productpage: Address) -> None:
    assert ask(productpage, "/nowhere")[0] == 404


def test_every_service_says_that_it_is_well() -> None:
    with ExitStack() as stack:
        for service in SERVICES:
            address = stack.enter_context(serving(handler(service, "v1", ("127.0.0.1", 1))))
            assert ask(address, "/health") == (200, '{"status": "healthy"}')


def test_a_page_is_read_as_the_steps_see_it(mesh: tuple[type[Mesh], Address], productpage: Address) -> None:
    assert (read(page(productpage), 1).version, read(page(productpage), 1).ratings) == ("v2", "black")

    mesh[0].failing["ratings"] = 500
    assert read(page(productpage), 1).ratings == "500"

    mesh[0].failing["reviews"] = 503
    assert read(page(productpage), 1).failure == "reviews is unavailable: status 503"
