from __future__ import annotations

import pytest

from mesh.services import Locality, Protocol, protocol_of


@pytest.mark.parametrize(
    ("declared", "name", "number", "expected"),
    [
        ("HTTP", "", 0, Protocol.HTTP),
        ("http2", "tcp-x", 0, Protocol.HTTP2),
        ("", "http", 0, Protocol.HTTP),
        ("", "grpc-api", 0, Protocol.GRPC),
        ("", "grpc-web", 0, Protocol.GRPC_WEB),
        ("", "grpc-web-api", 0, Protocol.GRPC_WEB),
        ("GRPC-Web", "", 0, Protocol.GRPC_WEB),
        ("MONGO", "", 0, Protocol.TCP),
        ("", "redis-cache", 0, Protocol.TCP),
        ("", "tls-1", 443, Protocol.TLS),
        ("", "db", 3306, Protocol.TCP),
        ("", "http-3306", 3306, Protocol.HTTP),
        ("", "web", 8080, Protocol.UNKNOWN),
        ("", "", 80, Protocol.UNKNOWN),
    ],
)
def test_a_protocol_is_declared_or_named_or_well_known(
    declared: str, name: str, number: int, expected: Protocol
) -> None:
    assert protocol_of(declared, name, number) is expected


@pytest.mark.parametrize(
    ("text", "locality"),
    [
        ("", Locality()),
        ("eu", Locality("eu")),
        ("eu/a", Locality("eu", "a")),
        ("eu/a/1", Locality("eu", "a", "1")),
        ("eu/a/1/x", Locality("eu", "a", "1/x")),
    ],
)
def test_a_locality_is_read_as_it_is_written(text: str, locality: Locality) -> None:
    assert Locality.parse(text) == locality
    assert str(locality) == text
