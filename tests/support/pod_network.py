"""A Pod's network without a cluster: a network namespace with capture rules, and a neighbour on its wire.

Run as a program in a new network namespace (``unshare --net``), as root; the rules are its argument. Who is
reached is told by the port that answers and, behind a redirection, by the original destination. Everything
ends with the program, and the namespace with that.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping

POD, PEER = "10.77.0.5", "10.77.0.9"
ENVOY, APPLICATION = 1337, 1000
_ORIGINAL_DESTINATION = 80  # SO_ORIGINAL_DST
_LISTENING = (8080, 9999, 15001, 15006, 15020, 15021)
_PEER_LISTENING = (80, 5432)

_CLIENT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2) as client:
        print(client.recv(64).decode())
except OSError as error:
    print(type(error).__name__)
"""
_NEIGHBOUR = """
import socket, sys, threading
def serve(server, port):
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(f"peer {port}".encode())
print("in a network of its own", flush=True)
sys.stdin.readline()
for port in map(int, sys.argv[1:]):
    server = socket.create_server(("0.0.0.0", port))
    threading.Thread(target=serve, args=(server, port)).start()
print("listening", flush=True)
"""


def main(rules: str) -> None:
    ip("link set lo up")
    ip("link add eth0 type veth peer name eth1")
    peer = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", _NEIGHBOUR, *map(str, _PEER_LISTENING)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert peer.stdout is not None
    assert peer.stdin is not None
    try:
        peer.stdout.readline()
        ip(f"link set eth1 netns {peer.pid}")
        ip(f"address add {POD}/24 dev eth0")
        ip("link set eth0 up")
        for command in ("link set lo up", f"address add {PEER}/24 dev eth1", "link set eth1 up"):
            ip(command, peer.pid)
        peer.stdin.write(b"go\n")
        peer.stdin.flush()
        peer.stdout.readline()
        for port in _LISTENING:
            server = socket.create_server(("0.0.0.0", port))
            threading.Thread(target=_serve, args=(server, port), daemon=True).start()
        # Twice: the container may be started again.
        for _ in range(2):
            subprocess.run(["nft", rules], check=True, timeout=10)
        sys.stdout.write(json.dumps(_reached(peer.pid)))
    finally:
        peer.kill()
        peer.wait(timeout=10)


def _reached(peer: int) -> Mapping[str, str]:
    return {
        "application to a neighbour": _ask(PEER, 80),
        "application to an excluded port": _ask(PEER, 5432),
        "envoy to a neighbour": _ask(PEER, 80, user=ENVOY),
        "application to itself": _ask(POD, 8080),
        "application on the loopback": _ask("127.0.0.1", 8080),
        "envoy to its own pod": _ask(POD, 8080, user=ENVOY),
        "envoy to the application": _ask("127.0.0.1", 8080, user=ENVOY),
        "envoy to an undeclared port": _ask(POD, 8080, user=ENVOY, source="127.0.0.6"),
        "neighbour to the application": _ask_from(peer, 8080),
        "neighbour to an excluded port": _ask_from(peer, 9999),
        "kubelet to a probe": _ask_from(peer, 15020),
        "kubelet to readiness": _ask_from(peer, 15021),
    }


def _ask(host: str, port: int, *, user: int = APPLICATION, source: str = "") -> str:
    """As that user: a socket belongs to who makes it, whoever uses it then."""
    os.setegid(user)
    os.seteuid(user)
    try:
        client = socket.socket()
    finally:
        os.seteuid(0)
        os.setegid(0)
    with client:
        client.settimeout(2)
        try:
            if source:
                client.bind((source, 0))
            client.connect((host, port))
            return client.recv(64).decode()
        except OSError as error:
            return type(error).__name__


def _ask_from(peer: int, port: int) -> str:
    command = ["nsenter", "--target", str(peer), "--net", sys.executable, "-c", _CLIENT, POD, str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _serve(server: socket.socket, port: int) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            address = connection.getsockopt(socket.SOL_IP, _ORIGINAL_DESTINATION, 16)
            found, host = struct.unpack("!2xH4s8x", address)
            meant = f"{socket.inet_ntoa(host)}:{found}"
            connection.sendall(f"{port} for {meant}".encode() if found != port else f"{port}".encode())


def ip(command: str, inside: int = 0) -> None:
    entering = ["nsenter", "--target", str(inside), "--net"] if inside else []
    subprocess.run([*entering, "ip", *command.split()], check=True, timeout=10)


if __name__ == "__main__":
    assert os.geteuid() == 0
    main(sys.argv[1])
