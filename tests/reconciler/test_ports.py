"""What the ports of the control plane are called."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from reconciler import ports
from reconciler.settings import Settings


def names(listen_address: str = "0.0.0.0", *est_hosts: str) -> ports.Names:
    return ports.names(
        Settings(repo="/mesh", state=Path("/state"), listen_address=listen_address, est_hosts=est_hosts)
    )


def test_the_servers_certificate_names_hosts_as_names_and_addresses_as_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else who checks the address it connects to finds only a name that looks like it."""
    monkeypatch.setattr("socket.gethostname", lambda: "Mesh-1")

    assert names("::", "mesh.example.com", "10.0.0.5") == (
        *("localhost", ip_address("127.0.0.1")),
        *("mesh.example.com", ip_address("10.0.0.5"), "mesh-1"),
    )


def test_a_hosts_own_name_that_no_certificate_can_hold_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "h\u00f6st")

    assert names() == ("localhost", ip_address("127.0.0.1"))
