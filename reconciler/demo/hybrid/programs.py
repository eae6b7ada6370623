"""Finds the servers that a demo (and tests) run: consul, etcd and kube-apiserver.

First where ``KUBEBUILDER_ASSETS`` says (etcd and kube-apiserver, as other projects of Kubernetes have
it), then what ``make test-servers`` brought, the newest version first, then the path. Nothing is
fetched here.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from mesh.errors import Misconfigured

_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


def cache() -> Path:
    """The folder that ``make test-servers`` fills; outside of any clone, so that clones share it."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "meshwright" / "test-servers"


def find(name: str) -> Path:
    """The program of that name.

    :raises Misconfigured: when there is none.
    """
    if found := next((path for path in _candidates(name) if os.access(path, os.X_OK)), None):
        return found
    raise Misconfigured(f"no {name} on this machine", hint="run 'make test-servers', which brings one")


def version(said: str, binary: Path) -> tuple[int, ...]:
    """``(1, 22, 5)``, out of what the program says of its version."""
    if not (found := _VERSION.search(said)):
        raise Misconfigured(f"{str(binary)!r} does not say which version it is", hint="take it off the path")
    return tuple(int(number) for number in found.groups())


def _candidates(name: str) -> list[Path]:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    on_path = shutil.which(name)
    return [
        *([Path(assets) / name] if assets else []),
        *sorted(cache().glob(f"{name}-[0-9]*/bin/{name}"), key=_version, reverse=True),
        *([Path(on_path)] if on_path else []),
    ]


def _version(binary: Path) -> list[int]:
    """``…/consul-1.22.5/bin/consul`` as numbers, because 1.8 is older than 1.22."""
    return [int(number) for number in re.findall(r"\d+", binary.parents[1].name)]
