"""The TLS of EST: our certificate for everyone, a client certificate from who has one.

Sessions are not resumed: a resumed one would bring back a client certificate that was verified
hours ago and may have ended since.
"""

from __future__ import annotations

import ssl
import tempfile

from ca.credentials import ServerCredentials


def server_context(credentials: ServerCredentials) -> ssl.SSLContext:
    """For the server of :func:`ca.est.application`. Renewed in place by :func:`present`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    present(context, credentials)
    return context


def present(context: ssl.SSLContext, credentials: ServerCredentials) -> None:
    """Use these credentials from the next connection on; open ones keep theirs.

    Python reads a key from a file only. The file is its owner's alone and gone at once.
    """
    context.load_verify_locations(cadata=credentials.roots_pem.decode())
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(credentials.key_pem + credentials.chain_pem)
        file.flush()
        context.load_cert_chain(file.name)
