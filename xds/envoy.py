"""The one door to Envoy's classes.

Message classes come out of a private descriptor pool made from ``envoy.binpb`` (written at install
time by ``hatch_build.py``), so nothing of ``xds-protos`` lies beside us. Messages of this pool do
not mix with those of others: everything that touches an Envoy message gets its class here.

Classes are asked for by their full name and made on first use::

    Cluster = envoy.message("envoy.config.cluster.v3.Cluster")
"""

from __future__ import annotations

import functools
from datetime import timedelta
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

_DESCRIPTORS = Path(__file__).with_name("envoy.binpb")

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 (a type's name)

TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET)
"""In the order in which one push makes sense: what is pointed at comes before what points."""

SHORT_NAMES = {CLUSTER: "cds", ENDPOINTS: "eds", LISTENER: "lds", ROUTES: "rds", SECRET: "sds"}


@functools.cache
def descriptors() -> bytes:
    """The descriptor set as it was installed."""
    return _DESCRIPTORS.read_bytes()


@functools.cache
def pool() -> descriptor_pool.DescriptorPool:
    """The private pool, with every file of the descriptor set."""
    made = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors()).file:
        made.Add(file)
    return made


@functools.cache
def message(full_name: str) -> Any:
    """The class of a message, by its full protobuf name."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(full_name))


@functools.cache
def _any() -> Any:
    return message("google.protobuf.Any")


def type_url(value: Any) -> str:
    """The type URL under which this message travels."""
    return f"type.googleapis.com/{value.DESCRIPTOR.full_name}"


def serialised(value: Any) -> bytes:
    """The message's bytes; equal messages give equal bytes, also with maps."""
    return bytes(value.SerializeToString(deterministic=True))


def packed(value: Any) -> Any:
    """The message in an ``Any``, ready to be a ``typed_config``."""
    return _any()(type_url=type_url(value), value=serialised(value))


def parsed(kind: str, literal: dict[str, Any]) -> Any:
    """A message from Envoy's JSON form. Slow: for templates and tests, never per resource."""
    return json_format.ParseDict(literal, message(kind)(), descriptor_pool=pool())


def as_dict(value: Any) -> dict[str, Any]:
    """A message in Envoy's JSON form with proto field names; nested ``Any`` are opened."""
    return json_format.MessageToDict(value, preserving_proto_field_name=True, descriptor_pool=pool())


def unpacked(body: bytes) -> Any:
    """The message inside a serialised ``Any``."""
    wrapper = _any().FromString(body)
    return message(wrapper.type_url.partition("/")[2]).FromString(wrapper.value)


def write_duration(target: Any, span: timedelta) -> None:
    """Set a ``google.protobuf.Duration`` field (also when the span is zero: zero is a value)."""
    target.SetInParent()
    whole, rest = divmod(span // timedelta(microseconds=1), 1_000_000)
    target.seconds, target.nanos = whole, rest * 1000
