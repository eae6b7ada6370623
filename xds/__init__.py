"""What Envoy is told, and what it tells.

gRPC's handlers for forks are switched off before its first import: they crash the children that the
control plane starts (git, for one) when another thread happens to be inside gRPC. No child of ours uses
gRPC; all are started by exec.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
