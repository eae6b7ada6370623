"""A real sshd on loopback, with keys of its own, for whoever runs the tests."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sshd:
    """Where it listens, and the key and the known host with which it is reached."""

    port: int
    user: str
    key: Path
    known_hosts: Path

    def command(self, *, key: Path | None = None, known_hosts: Path | None = None) -> str:
        """For ``GIT_SSH_COMMAND``; nothing of the caller's own ssh settings is used."""
        return (
            f"ssh -F none -i {key or self.key} -o IdentitiesOnly=yes -o IdentityAgent=none"
            f" -o UserKnownHostsFile={known_hosts or self.known_hosts} -o GlobalKnownHostsFile=none"
            " -o StrictHostKeyChecking=yes"
        )

    def url(self, path: Path) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{path}"


def a_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=30)
    return path


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """Run it until the block ends."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        raise FileNotFoundError("sshd is not installed: apt install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as the system's own service does
    folder.mkdir()
    host, user = a_key(folder / "host"), a_key(folder / "user")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder))
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {host.with_suffix('.pub').read_text()}")
    server = subprocess.Popen(
        [program, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr
        said = server.stderr.readline()
        if "Server listening" not in said:
            raise RuntimeError(f"sshd did not start: {said}{server.stderr.read()}")
        yield Sshd(port=port, user=getpass.getuser(), key=user, known_hosts=known)
    finally:
        server.terminate()
        server.communicate(timeout=10)
