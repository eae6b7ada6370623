"""A Pod whose traffic a real kernel leads through a stock Envoy, both ways."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import captured_pod
from tests.support.envoys import needs_envoy

_ROOT = Path(__file__).parents[2]
_TOOLS = ("nft", "ip", "unshare", "nsenter", "setpriv")


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The status of each request of ``captured_pod``, by mode; 0 where nobody answered."""
    if os.geteuid() != 0:
        pytest.skip("not root: network namespaces cannot be made")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt install nftables iproute2 util-linux")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", captured_pod.__name__, tmp_path_factory.mktemp("pod")],
        cwd=_ROOT,
        env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


EVERYTHING = {
    "mesh to the application": 200,
    "plain text to the application": 200,
    "plain text to an undeclared port": 200,
    "kubelet to an HTTP probe": 200,
    "kubelet to a TCP probe": 200,
    "kubelet to the proxy": 200,
    "application to the mesh": 200,
    "application to the outside": 200,
    "application to its own service": 200,
    "application to its own address": 200,
    "application to itself": 200,
}


@needs_envoy
def test_a_captured_pod_serves_and_calls_as_before(reached: Any) -> None:
    assert reached["PERMISSIVE"] == EVERYTHING


@needs_envoy
def test_under_strict_nobody_comes_in_by_plain_text_but_to_probes(reached: Any) -> None:
    refused = {"plain text to the application": 0, "plain text to an undeclared port": 0}

    assert reached["STRICT"] == EVERYTHING | refused
