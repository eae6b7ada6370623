"""The TLS of EST: our certificate for everyone, a client certificate from who has one.

No tickets are given out: a resumed session would bring back a client certificate that was verified
hours ago, by roots that may have gone since. TLS 1.2 resumes by session number as well, which Python
cannot shut off; a certificate that comes back so is refused by :mod:`ca.est`.
"""

from __future__ import annotations

import os
import ssl

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

    Python reads a key from a file only. This one is in memory and has no name, so that the key never
    comes to a disk, and a full one does not matter. Roots are only ever added: one that is no longer
    in the bundle is forgotten with the process.
    """
    context.load_verify_locations(cadata=credentials.roots_pem.decode())
    with os.fdopen(os.memfd_create("server.pem"), "wb") as file:
        file.write(credentials.key_pem + credentials.chain_pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
