"""What must be there before a demo begins: programs, and room for a socket."""

from __future__ import annotations

import shutil
from pathlib import Path

from mesh.errors import Misconfigured
from reconciler.demo import envoy
from reconciler.demo.control_plane import admin_socket

# sockaddr_un has room for 107 bytes and a zero (Linux, unix(7)).
SOCKET_PATH_MAX = 107


def envoy_for(state: Path) -> Path:
    """The Envoy to run, once it is known that a demo with this state directory can begin.

    :raises Misconfigured: when it cannot; nothing was made then.
    """
    binary = envoy.find()
    for program in ("git", "openssl"):
        if shutil.which(program) is None:
            raise Misconfigured(f"no {program} on this machine", hint=f"install it: apt install {program}")
    if len(str(admin_socket(state)).encode()) > SOCKET_PATH_MAX:
        raise Misconfigured(
            f"the path of {str(state)!r} is too long for a unix socket in it", hint="choose a shorter --state"
        )
    return binary
