"""The two messages of Istio's CA service, as Istio's ``security/v1alpha1/ca.proto`` numbers them.

They are described here by hand and compiled into a pool of their own: a ``.proto`` of fifteen lines is no
reason for a compiler at build time, and the default pool is anybody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, struct_pb2

from ca.requests import Malformed

SERVICE = "istio.v1.auth.IstioCertificateService"
METHOD = "CreateCertificate"

_PACKAGE = "istio.v1.auth"
_Field = descriptor_pb2.FieldDescriptorProto


def _classes() -> tuple[Any, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="security/v1alpha1/ca.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=_Field.TYPE_INT64, label=_Field.LABEL_OPTIONAL)
    request.field.add(
        name="metadata",
        number=4,
        type=_Field.TYPE_MESSAGE,
        type_name=".google.protobuf.Struct",
        label=_Field.LABEL_OPTIONAL,
    )
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_REPEATED)
    pool.Add(file)
    request_type, response_type = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{one.name}"))
        for one in (request, response)
    )
    return request_type, response_type


_REQUEST, _RESPONSE = _classes()


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    """What a caller asks for. ``metadata`` are the names of what it asks for beside that."""

    csr: str
    validity_seconds: int = 0
    metadata: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, content: bytes) -> CertificateRequest:
        """:raises Malformed: when the bytes are no such message."""
        try:
            said = _REQUEST.FromString(content)
        except message.DecodeError:
            raise Malformed(
                "not an IstioCertificateRequest", hint="speak Istio's security/v1alpha1/ca.proto"
            ) from None
        return cls(
            csr=said.csr,
            validity_seconds=said.validity_duration,
            metadata=frozenset(said.metadata.fields),
        )

    def serialized(self) -> bytes:
        """As a client sends it; without metadata, of which our own has none."""
        made = _REQUEST(csr=self.csr, validity_duration=self.validity_seconds)
        content: bytes = made.SerializeToString()
        return content


def response(chain: Sequence[str]) -> bytes:
    """PEM certificates, the leaf first; what is to be trusted comes last, as one element."""
    content: bytes = _RESPONSE(cert_chain=chain).SerializeToString()
    return content


def read_response(content: bytes) -> tuple[str, ...]:
    """:raises ValueError: when the bytes are no such message."""
    try:
        return tuple(_RESPONSE.FromString(content).cert_chain)
    except message.DecodeError as error:
        raise ValueError("not an IstioCertificateResponse") from error
