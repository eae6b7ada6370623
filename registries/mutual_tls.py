"""Whether a proxy of the mesh answers at a workload's address: Istio's rule, for every registry."""

from __future__ import annotations

from mesh.labels import Labels

TLS_MODE = "security.istio.io/tlsMode"


def speaks_mutual_tls(subject: Labels, account: str) -> bool:
    """Istio: the label ``security.istio.io/tlsMode`` decides, else whether an account was given."""
    declared = dict(subject).get(TLS_MODE)
    return declared == "istio" if declared is not None else bool(account)
