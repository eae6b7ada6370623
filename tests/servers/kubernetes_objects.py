"""The objects of a cluster, as tests write and read them: straight to the API, as its administrator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from tests.servers.door import Answered, Door

ISSUER = "https://kubernetes.default.svc"
Manifest = Mapping[str, Any]

_CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "Node",
}
# The plurals that are not formed with an s alone.
_PLURALS = {"Endpoints": "endpoints", "Ingress": "ingresses", "NetworkPolicy": "networkpolicies"}
# What a test leaves behind in its namespace.
_LEFT_BEHIND = (
    "/api/v1/namespaces/{}/pods",
    "/api/v1/namespaces/{}/services",
    "/api/v1/namespaces/{}/secrets",
    "/api/v1/namespaces/{}/configmaps",
    "/api/v1/namespaces/{}/endpoints",
    "/api/v1/namespaces/{}/serviceaccounts",
    "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
)


class Objects:
    """All that is in a cluster, through its API."""

    def __init__(self, admin: Door) -> None:
        self._admin = admin

    def apply(self, *manifests: Manifest) -> dict[str, Any]:
        """Create or replace what the manifests name (server-side apply); the last one as stored."""
        stored: dict[str, Any] = {}
        for manifest in manifests:
            stored = self._admin.ask(
                "PATCH",
                path_of(manifest),
                manifest,
                headers={"Content-Type": "application/apply-patch+yaml"},
                fieldManager="tests",
                force="true",
            )
        return stored

    def create(self, manifest: Manifest) -> dict[str, Any]:
        """As stored; for ``generateName``, and for what must not exist yet."""
        made: dict[str, Any] = self._admin.ask("POST", path_of(manifest).rpartition("/")[0], manifest)
        return made

    def patch(self, manifest: Manifest, change: Manifest, *, part: str = "") -> dict[str, Any]:
        """Merge ``change`` into the object that ``manifest`` names (JSON merge patch)."""
        merged: dict[str, Any] = self._admin.ask(
            "PATCH",
            path_of(manifest) + part,
            change,
            headers={"Content-Type": "application/merge-patch+json"},
        )
        return merged

    def patch_status(self, manifest: Manifest, status: Manifest) -> dict[str, Any]:
        """What a kubelet or a controller would report: ``{"podIP": …, "conditions": […]}``."""
        return self.patch(manifest, {"status": status}, part="/status")

    def delete(self, manifest: Manifest, *, grace_s: int = 0) -> None:
        """Gone at once; with a grace, a Pod on a node stays terminating until it is deleted again."""
        self._admin.ask("DELETE", path_of(manifest), gracePeriodSeconds=grace_s)

    def get(self, manifest: Manifest) -> dict[str, Any] | None:
        """As stored, or ``None``."""
        try:
            found: dict[str, Any] = self._admin.ask("GET", path_of(manifest))
        except Answered as error:
            if error.status == 404:
                return None
            raise
        return found

    def ask(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        """Anything else, as an administrator."""
        return self._admin.ask(method, path, body, **query)

    def namespace(self, prefix: str = "test", labels: Mapping[str, str] | None = None) -> str:
        """A fresh one; its name."""
        name = f"{prefix}-{uuid4().hex[:8]}"
        self.apply(a_manifest("Namespace", name, metadata={"labels": dict(labels or {})}))
        return name

    def remove_namespace(self, name: str) -> None:
        """And all that is in it, as the namespace controller would."""
        manifest = a_manifest("Namespace", name)
        if self.get(manifest) is None:  # the test took away more than that
            return
        for path in _LEFT_BEHIND:
            self._admin.ask("DELETE", path.format(name), gracePeriodSeconds=0)
        self.delete(manifest)
        if left := self.get(manifest):
            left["spec"]["finalizers"] = []
            self._admin.ask("PUT", f"{path_of(manifest)}/finalize", left)

    def service_account(
        self, name: str, namespace: str = "default", *, rules: Sequence[Manifest] = ()
    ) -> None:
        """An account, and a cluster role of those rules bound to it."""
        self.apply(a_manifest("ServiceAccount", name, namespace))
        if not rules:
            return
        role = f"{namespace}-{name}"
        rbac = "rbac.authorization.k8s.io"
        self.apply(
            a_manifest("ClusterRole", role, group=f"{rbac}/v1", rules=list(rules)),
            a_manifest(
                "ClusterRoleBinding",
                role,
                group=f"{rbac}/v1",
                roleRef={"apiGroup": rbac, "kind": "ClusterRole", "name": role},
                subjects=[{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            ),
        )

    def token_for(
        self,
        namespace: str,
        service_account: str,
        audience: str = ISSUER,
        seconds: int = 3600,
        *,
        pod: str | None = None,
    ) -> str:
        """A token from the TokenRequest API, bound to a Pod if one is named; 600 seconds at least."""
        spec: dict[str, Any] = {"audiences": [audience], "expirationSeconds": seconds}
        if pod is not None:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod}
        path = path_of(a_manifest("ServiceAccount", service_account, namespace)) + "/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return str(self._admin.ask("POST", path, request)["status"]["token"])


def a_manifest(
    kind: str,
    name: str,
    namespace: str | None = None,
    *,
    group: str = "v1",
    metadata: Manifest | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """An object of the API; ``group`` is its apiVersion."""
    scope = {} if namespace is None else {"namespace": namespace}
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": name, **scope, **(metadata or {})},
        **fields,
    }


def path_of(manifest: Manifest) -> str:
    """Where the API keeps it."""
    version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    if kind in _CLUSTER_SCOPED:
        return f"{root}/{plural}/{metadata.get('name', '')}"
    return f"{root}/namespaces/{metadata.get('namespace', 'default')}/{plural}/{metadata.get('name', '')}"
