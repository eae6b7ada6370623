"""The demos that there are, by name."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from reconciler.demo import performance, stage
from reconciler.demo.hybrid import performance as hybrid_performance
from reconciler.demo.hybrid import stage as hybrid_stage
from reconciler.demo.run import Play
from reconciler.demo.stage import Stage

_BOOKINFO = """
The mesh stays up until Ctrl-C.

  gateway      {url}
  repository   {bare}
  logs         {logs}
  status       {command} status --state {state}

A commit to try; then everyone who asks the gateway sees black stars:

  cd {clone}
  sed -i 's/weight: 90/weight: 0/' reviews.yaml
  git commit -qam 'Send all requests for reviews to v2' && git push -q

Following pushes:
"""

_HYBRID = """
The mesh stays up until Ctrl-C.

  ask          curl --proxy {proxy} http://catalog.shop.svc.cluster.local:8080/
  consul       {consul}
  kubernetes   kubectl --kubeconfig {kubeconfig} get pods --namespace shop
  repository   {bare}
  logs         {logs}
  status       {command} status --state {state}

A commit to try; then Pods alone answer for the catalog:

  cd {clone}
  sed -i 's/weight: 70/weight: 0/' catalog.yaml
  git commit -qam 'Send all requests for the catalog to Kubernetes' && git push -q

Following pushes:
"""


def _bookinfo(up: Stage, logs: Path) -> str:
    return _BOOKINFO.format(
        url=up.visitor.url,
        bare=up.repository.bare,
        clone=shlex.quote(str(up.repository.clone)),
        logs=logs,
        state=shlex.quote(str(up.control_plane.state)),
        command=shlex.quote(_command()),
    )


def _hybrid(up: hybrid_stage.Stage, logs: Path) -> str:
    return _HYBRID.format(
        proxy=up.shopper.proxy,
        consul=f"curl {up.consul.url}/v1/health/service/catalog",
        kubeconfig=shlex.quote(str(up.cluster.kubeconfig)),
        bare=up.repository.bare,
        clone=shlex.quote(str(up.repository.clone)),
        logs=logs,
        state=shlex.quote(str(up.control_plane.state)),
        command=shlex.quote(_command()),
    )


def _command() -> str:
    """How the user can call us: by path, where our environment is not on theirs."""
    script = Path(sys.executable).with_name("meshwright")
    return str(script) if script.exists() and shutil.which("meshwright") is None else "meshwright"


PLAYS: Final[dict[str, Play[Any]]] = {
    "bookinfo": Play(stage=stage.stage, perform=performance.perform, invitation=_bookinfo),
    "hybrid": Play(stage=hybrid_stage.stage, perform=hybrid_performance.perform, invitation=_hybrid),
}
