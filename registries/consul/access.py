"""Where a Consul is, and as whom it is asked: the settings and the operator's credentials, checked."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from mesh.errors import Misconfigured
from mesh.kinds.registry_consul import Consul, not_an_address
from registries import credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where to connect, and as whom."""

    address: str
    token: str = field(default="", repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False)


def access(settings: Consul, directory: Path | None) -> Access:
    """As the settings and the credentials say now. Blocks.

    :raises Misconfigured: when they cannot work.
    """
    found = (
        credentials.read(directory, settings.secret_ref) if settings.secret_ref else credentials.Credentials()
    )
    address = found.meant_for(settings.address)
    if wrong := not_an_address(address):
        raise Misconfigured(
            f"the credentials {found.name!r} cannot be used: {wrong}",
            hint="write the URL of the agent into the file 'address'",
        )
    return Access(address=address, token=found.token, context=_context(found))


def _context(found: credentials.Credentials) -> ssl.SSLContext:
    try:
        # With an authority of its own, those of the system have no say.
        context = ssl.create_default_context(cafile=found.ca)
        if found.certificate is not None:
            # With an empty password, OpenSSL does not ask the terminal for one when the key has one.
            context.load_cert_chain(found.certificate, found.key, password="")
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"the certificates of the credentials {found.name!r} cannot be used: {reason(error)}",
            hint="ca.crt, tls.crt and tls.key are PEM, and the key belongs to the certificate",
        ) from error
    return context


def reason(error: BaseException) -> str:
    """What an error says, without the names of files and addresses that Python puts around it."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
