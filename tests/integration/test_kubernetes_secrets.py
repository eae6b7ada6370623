"""Certificates of gateways from a real cluster: by name, and no others."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mesh.clock import SystemClock
from mesh.latest import Latest
from mesh.world import Credential
from registries.kubernetes.access import Access
from registries.kubernetes.objects import Key
from registries.kubernetes.secrets import Secrets
from tests.servers.kubernetes import KubernetesApi
from tests.servers.kubernetes_objects import a_manifest
from tests.support.cluster_registries import QUICK, named_access, until

CHAIN = b"-----BEGIN CERTIFICATE-----\nof %d\n-----END CERTIFICATE-----\n"
KEY = b"-----BEGIN PRIVATE KEY-----\nof %d\n-----END PRIVATE KEY-----\n"


def a_secret(name: str, namespace: str, number: int, **other: bytes) -> dict[str, Any]:
    held = other or {"tls.crt": CHAIN % number, "tls.key": KEY % number}
    encoded = {key: base64.b64encode(value).decode() for key, value in held.items()}
    return a_manifest("Secret", name, namespace, data=encoded)


def a_credential(number: int) -> Credential:
    return Credential(CHAIN % number, KEY % number)


@asynccontextmanager
async def following(access: Access, wanted: Latest[frozenset[Key]]) -> AsyncIterator[Secrets]:
    secrets = Secrets("east", access, wanted, SystemClock(), pace=QUICK)
    task = asyncio.create_task(secrets.run())
    try:
        yield secrets
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_secrets_that_are_wanted_are_followed_and_others_are_not(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    shop, bank = (namespace, "shop"), (namespace, "bank")
    kubernetes_api.apply(a_secret("shop", namespace, 1), a_secret("bank", namespace, 2))
    wanted = Latest(frozenset({shop}))
    async with following(named_access(tmp_path, kubernetes_api.kubeconfig), wanted) as secrets:
        await until(lambda: secrets.found.value == {shop: a_credential(1)})
        await asyncio.to_thread(kubernetes_api.apply, a_secret("shop", namespace, 3))
        await until(lambda: secrets.found.value == {shop: a_credential(3)})
        wanted.publish(frozenset({shop, bank}))
        await until(lambda: secrets.found.value == {shop: a_credential(3), bank: a_credential(2)})
        wanted.publish(frozenset({bank}))
        await until(lambda: secrets.found.value == {bank: a_credential(2)})
        await asyncio.to_thread(kubernetes_api.delete, a_secret("bank", namespace, 2))
        await until(lambda: secrets.found.value == {})

        assert secrets.absent.value == {bank}
        (remark,) = secrets.remarks.value
        assert remark.about == f"Secret {namespace}/bank"
        assert remark.message == "a Gateway names it, and there is no such Secret"


async def test_a_secret_that_is_spoilt_is_remarked_and_the_one_before_stays(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    shop = (namespace, "shop")
    kubernetes_api.apply(a_secret("shop", namespace, 1))
    wanted = Latest(frozenset({shop}))
    async with following(named_access(tmp_path, kubernetes_api.kubeconfig), wanted) as secrets:
        await until(lambda: bool(secrets.found.value))
        spoilt = a_secret("shop", namespace, 0, **{"tls.crt": b"very-secret", "tls.key": KEY % 1})
        await asyncio.to_thread(kubernetes_api.apply, spoilt)
        await until(lambda: bool(secrets.remarks.value))

        assert [one.message for one in secrets.remarks.value] == ["tls.crt is not PEM"]
        assert secrets.found.value == {shop: a_credential(1)}


async def test_a_secret_that_was_never_good_is_not_absent(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    """What was known of it over another connection stays."""
    kubernetes_api.apply(a_secret("shop", namespace, 0, **{"tls.crt": b"spoilt", "tls.key": KEY % 1}))
    wanted = Latest(frozenset({(namespace, "shop")}))
    async with following(named_access(tmp_path, kubernetes_api.kubeconfig), wanted) as secrets:
        await until(lambda: bool(secrets.remarks.value))

        assert (secrets.found.value, secrets.absent.value) == ({}, frozenset())


async def test_the_cluster_has_to_grant_single_secrets_only(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    kubernetes_api.apply(a_secret("shop", namespace, 1), a_secret("bank", namespace, 2))
    rule = {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": ["shop"],
        "verbs": ["get", "list", "watch"],
    }
    kubernetes_api.service_account("mesh", namespace, rules=[rule])
    token = kubernetes_api.token_for(namespace, "mesh")
    access = named_access(tmp_path, lambda path: kubernetes_api.kubeconfig(path, token=token))
    wanted = Latest(frozenset({(namespace, "shop"), (namespace, "bank")}))
    async with following(access, wanted) as secrets:
        await until(lambda: bool(secrets.found.value) and bool(secrets.remarks.value))

        assert secrets.found.value == {(namespace, "shop"): a_credential(1)}
        assert (secrets.refused.value, secrets.absent.value) == ({(namespace, "bank")}, frozenset())
        (remark,) = secrets.remarks.value
        assert remark.message.startswith("the API server answered 403 to the GET of /api/v1/namespaces/")
        assert remark.hint == (
            "grant what examples/kubernetes/gateway-secrets.yaml grants to the account of the kubeconfig"
        )
