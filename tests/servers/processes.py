"""One server program of a test: started, hurt in every way a test asks for, and always ended.

Everything here is synchronous, so that one server can serve tests that each have an event loop of
their own. An asynchronous test calls what takes longer than its loop may stand still through
``asyncio.to_thread``. Every wait has an end.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from mesh.clock import SystemClock

START_LIMIT_S = 60.0
_GRACE_S = 10.0
_BEAT_S = 0.02
_TAIL_LINES = 25

LOOPBACK = "127.0.0.1"
# Below what Linux hands out by itself (ip_local_port_range): a server that is down must find its port
# free when it comes back, and no connection of another program may have been given it meanwhile.
_PORTS = range(20_000, 32_000)


class DidNotStart(AssertionError):
    """A server ended, or said nothing for too long; with the last lines it wrote."""


class Server:
    """A program, and what can be done to it. Owned by the block that runs it."""

    def __init__(self, name: str, log: Path) -> None:
        self.name, self.log = name, log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(
        self,
        command: Sequence[str | Path],
        is_ready: Callable[[], bool],
        limit_s: float = START_LIMIT_S,
    ) -> None:
        """Start it and wait until it is ready. What it writes is appended to its log."""
        assert not self.is_running, f"{self.name} is running"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            # A session of its own: Ctrl-C is for the tests, which then end their servers.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            self.wait_for(is_ready, limit_s)
        except BaseException:
            self.kill()
            raise

    def wait_for(self, is_ready: Callable[[], bool], limit_s: float = START_LIMIT_S) -> None:
        """Until it is ready; an error with its last lines when it ends before."""
        assert self._process is not None
        clock = SystemClock()
        end = clock.monotonic() + limit_s
        while not is_ready():
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(_BEAT_S)
                raise DidNotStart(f"{self.name} ended with {code}:\n{self.tail()}")
            if clock.monotonic() > end:
                raise DidNotStart(f"{self.name} was not ready within {limit_s:g} s:\n{self.tail()}")

    def stop(self) -> None:
        """Ask it to end; killed when it does not."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """Let it hang: connections stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        # Only when every thread of it has stopped is nothing answered any more.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def tail(self) -> str:
        """The last lines it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])

    def _end(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)  # a suspended program does not hear SIGTERM
        self._process.send_signal(number)
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_GRACE_S)


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on, by TCP or UDP."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} free ports in {_PORTS}")


def _is_free(port: int) -> bool:
    with contextlib.ExitStack() as probes:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            probe = probes.enter_context(socket.socket(socket.AF_INET, kind))
            if kind is socket.SOCK_STREAM:  # a port in TIME_WAIT can be listened on, as servers do
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return False
    return True


def until(awaited: str, holds: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Wait for something that takes a moment. For tests without an event loop."""
    pause, clock = threading.Event(), SystemClock()
    end = clock.monotonic() + limit_s
    while not holds():
        assert clock.monotonic() < end, f"waited {limit_s:g} s for {awaited}"
        pause.wait(_BEAT_S)
