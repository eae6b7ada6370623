"""What the example asks a cluster to grant is what the registry uses, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from registries.kubernetes.resources import NAMESPACES, NODES, PODS, SERVICES, SLICES
from registries.kubernetes.review import PATH

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "kubernetes"


def rules(file: str) -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((EXAMPLES / file).read_text())
    return [rule for document in documents for rule in document.get("rules", ())]


def test_the_registry_reads_what_it_lists_and_changes_nothing() -> None:
    granted = {resource for rule in rules("read-only.yaml") for resource in rule["resources"]}
    verbs = {verb for rule in rules("read-only.yaml") for verb in rule["verbs"]}

    assert granted == {one.path.rpartition("/")[2] for one in (SERVICES, SLICES, PODS, NODES, NAMESPACES)}
    assert verbs == {"get", "list", "watch"}


def test_whose_a_token_is_may_be_asked_and_nothing_else() -> None:
    (rule,) = rules("token-reviews.yaml")

    assert (rule["resources"], rule["verbs"]) == ([PATH.rpartition("/")[2]], ["create"])


def test_secrets_are_granted_by_name() -> None:
    (rule,) = rules("gateway-secrets.yaml")

    assert rule["resourceNames"]
    assert rule["verbs"] == ["get", "list", "watch"]
