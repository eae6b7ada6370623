"""Where the key, the certificate and the roots lie for Envoy: the same layout as on a machine.

    DIR/certs/..data -> ..<n>/          swapped by one rename
    DIR/certs/..<n>/{key,cert,root}.pem cert.pem is the leaf and its intermediates
    DIR/sds/{cert,root}.yaml            secrets "default" and "ROOTCA", written by rename

It is that of ``playbooks/files/meshwright_enrol.py``, which has to be one file for machines that have nothing
else; a test holds the two together. What Envoy sees is the old state or the new one, whenever this ends.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from cryptography import x509

from ca import minting
from mesh.errors import Misconfigured

log = logging.getLogger(__name__)

CERT_YAML = """\
resources:
- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: default
  tls_certificate:
    certificate_chain: {{filename: '{certs}/..data/cert.pem'}}
    private_key: {{filename: '{certs}/..data/key.pem'}}
    watched_directory: {{path: '{certs}'}}
"""
ROOT_YAML = """\
resources:
- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: ROOTCA
  validation_context:
    trusted_ca: {{filename: '{certs}/..data/root.pem'}}
    watched_directory: {{path: '{certs}'}}
"""


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Misconfigured(
            f"cannot use {error.filename}: {error.strerror}",
            hint="the folder must be writable for the user that runs this",
        ) from error


class Files:
    """The folder of one Pod. Owned by whoever enrols; the program that renews comes after the first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.certs = self.directory / "certs"
        self.data = self.certs / "..data"
        self.sds = self.directory / "sds"
        if re.search(r"['\n]", str(self.directory)):
            raise Misconfigured(
                f"the folder {str(self.directory)!r} holds a quote or a line end", hint="choose another"
            )

    @_in_our_words()
    def current(self) -> x509.Certificate | None:
        """The certificate in use, if there is one. What cannot be read is none: another is had for it."""
        found = _certificates(self.data / "cert.pem")
        return found[0] if found else None

    @_in_our_words()
    def roots(self) -> str:
        """The roots in use; empty before there are any, and when they cannot be read."""
        return minting.pem(*_certificates(self.data / "root.pem")).decode()

    @_in_our_words()
    def prepared(self) -> Path:
        """The folder, made."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.directory

    @_in_our_words()
    def publish(self, *, key: bytes, chain: str, roots: str) -> None:
        """Make these the ones in use, with one rename."""
        for folder in (self.certs, self.sds):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = [int(path.name[2:]) for path in self._generations()]
        generation = self.certs / f"..{max(taken, default=0) + 1}"
        generation.mkdir(mode=0o700)
        _write(generation / "key.pem", key)
        _write(generation / "cert.pem", chain.encode())
        _write(generation / "root.pem", roots.encode())
        link = self.certs / "..data.tmp"
        link.unlink(missing_ok=True)
        link.symlink_to(generation.name)
        link.replace(self.data)
        for name, template in (("cert.yaml", CERT_YAML), ("root.yaml", ROOT_YAML)):
            self._write_if_new(self.sds / name, template.format(certs=self.certs))
        for path in self._generations():
            if path != generation:
                shutil.rmtree(path)

    @_in_our_words()
    def write_bootstrap(self, text: str) -> None:
        """What Envoy starts from."""
        self._write_if_new(self.directory / "bootstrap.json", text)

    def _write_if_new(self, path: Path, text: str) -> None:
        # Envoy reloads what is renamed here, so what is right already is left alone.
        if not path.exists() or path.read_text() != text:
            _write(path, text.encode())

    def _generations(self) -> list[Path]:
        return [path for path in self.certs.iterdir() if re.fullmatch(r"\.\.[0-9]+", path.name)]


def _certificates(path: Path) -> list[x509.Certificate]:
    if not path.exists():
        return []
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        log.warning("file of certificates cannot be read", extra={"path": str(path), "reason": str(error)})
        return []


def is_due(certificate: x509.Certificate, now: datetime, share: float) -> bool:
    """Whether that share of its life is over, or it has not begun: the clock was set back."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now < start or now >= start + (end - start) * share


def _write(path: Path, content: bytes) -> None:
    """The whole file or none of it, for its owner alone: written beside, renamed."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
