"""The capture rules, loaded into a real kernel: who is led through Envoy, and who must not be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.inject.capture import Capture, rules
from tests.support import pod_network

_TOOLS = ("nft", "ip", "unshare", "nsenter")


def reached(capture: Capture) -> Any:
    """Which port answered each of the questions of ``pod_network``."""
    if os.geteuid() != 0:
        pytest.skip("not root: network namespaces cannot be made")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt install nftables iproute2 util-linux")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, Path(pod_network.__file__), rules(capture)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_everything_goes_through_envoy_but_what_must_not() -> None:
    assert reached(Capture()) == {
        "application to a neighbour": "15001 for 10.77.0.9:80",
        "application to an excluded port": "15001 for 10.77.0.9:5432",
        "envoy to a neighbour": "peer 80",
        "application to itself": "8080",
        "application on the loopback": "8080",
        "envoy to its own pod": "15006 for 10.77.0.5:8080",
        "envoy to the application": "8080",
        "envoy to an undeclared port": "8080",
        "neighbour to the application": "15006 for 10.77.0.5:8080",
        "neighbour to an excluded port": "15006 for 10.77.0.5:9999",
        "kubelet to a probe": "15020",
        "kubelet to readiness": "15021",
    }


@pytest.mark.parametrize(
    ("capture", "changed"),
    [
        (
            Capture(inbound_ports_excluded=(9999,), outbound_ports_excluded=(5432,)),
            {"application to an excluded port": "peer 5432", "neighbour to an excluded port": "9999"},
        ),
        (
            Capture(inbound_ports=(8080,), outbound_ranges=("10.0.0.0/16",), outbound_ports=(5432,)),
            {"application to a neighbour": "peer 80", "neighbour to an excluded port": "9999"},
        ),
        (
            Capture(inbound_ports=(), outbound_ranges=()),
            {
                "application to a neighbour": "peer 80",
                "application to an excluded port": "peer 5432",
                "neighbour to the application": "8080",
                "neighbour to an excluded port": "9999",
            },
        ),
        (
            Capture(outbound_ranges=("0.0.0.0/0",), outbound_ranges_excluded=("10.77.0.0/24",)),
            {"application to a neighbour": "peer 80", "application to an excluded port": "peer 5432"},
        ),
    ],
)
def test_annotations_take_out_what_they_name(capture: Capture, changed: dict[str, str]) -> None:
    everything = reached(Capture())

    assert reached(capture) == {**everything, **changed}
