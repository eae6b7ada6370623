"""Adds our sidecar to Kubernetes manifests: text in, text out, nothing asked of any cluster."""

from __future__ import annotations

from reconciler.inject.manifests import Injected, inject
from reconciler.inject.sidecar import Sidecar

__all__ = ["Injected", "Sidecar", "inject"]
