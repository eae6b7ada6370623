"""What a large cluster costs in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MOST_MB = 230
"""The budget is 200; what an interpreter takes for itself differs a little between machines."""


def test_a_cluster_of_a_hundred_thousand_pods_stays_within_the_budget_of_memory() -> None:
    """It took 276 MB, while every Pod had a set of slices and every slice copies of what its Pods say."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.cluster_memory"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert int(done.stdout) < MOST_MB
