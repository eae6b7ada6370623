"""Reads what ``meshwright inject`` is given: files, folders and standard input; the CA's root."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mesh.errors import Misconfigured
from reconciler.inject import Injected, Sidecar
from reconciler.inject import inject as inject_texts
from reconciler.installing import TOKEN_PORT, control_plane_id, socket
from reconciler.settings import at

_SUFFIXES = (".yaml", ".yml", ".json")


def inject(
    files: Sequence[Path],
    ca_root: Path,
    *,
    control_plane: Sequence[str],
    enrolment: Sequence[str] = (),
    trust_domain: str,
    **options: object,
) -> Injected:
    """The manifests of all files with their sidecars.

    :raises Misconfigured: when something that is asked for is not what it has to be.
    """
    places = [socket(place) for place in control_plane]
    doors = [socket(place, TOKEN_PORT) for place in enrolment]
    doors = doors or [socket(place.address, TOKEN_PORT) for place in places]
    sidecar = Sidecar(
        control_plane=tuple(at(place.address, place.port) for place in places),
        enrolment=tuple(at(door.address, door.port) for door in doors),
        ca_root=_root(ca_root),
        trust_domain=control_plane_id(trust_domain).trust_domain,
        **options,  # type: ignore[arg-type]
    )
    return inject_texts(_texts(files), sidecar)


def _texts(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for path in files:
        if str(path) == "-":
            yield "stdin", _decoded("standard input", sys.stdin.buffer.read())
        elif path.is_dir():
            for inside in sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES):
                yield str(inside), _read(inside)
        else:
            yield str(path), _read(path)


def _read(path: Path) -> str:
    try:
        return _decoded(str(path), path.read_bytes())
    except OSError as error:
        raise Misconfigured(
            f"cannot read {path}: {error.strerror}", hint="name files that can be read"
        ) from error


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{name} is not UTF-8 at byte {error.start}", hint="save it as UTF-8") from error


def _root(path: Path) -> str:
    """The certificates of the file alone: nothing else of it goes into manifests, least of all a key."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"{path} holds no readable PEM certificates", hint="it is root-cert.pem of the mesh's CA"
        ) from error
    return "".join(root.public_bytes(Encoding.PEM).decode() for root in found)
