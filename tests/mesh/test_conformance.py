"""Istio's own test data: what it takes is taken, what it refuses is refused at the same field."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.documents import parse_file
from mesh.kinds.objects import read_object
from mesh.problems import Problem, Severity
from reconciler.reading import Reader, TextFile

DATA = Path(__file__).parents[3] / "shared" / "conformance"
FILES = ("authz", "destinationrule", "peerauth", "serviceentry", "workloadentry")

# Documents that Istio takes, and the fields of them that are not carried out yet.
REFUSED = {
    ("authz", "full"): {
        "requestPrincipals", "notRequestPrincipals", "remoteIpBlocks", "notRemoteIpBlocks",
        "trustDomains", "notTrustDomains", "when",
    },
    ("destinationrule", "bookinfo-ratings"): {"warmup"},
    ("serviceentry", "empty-selector"): {"resolution"},
    ("serviceentry", "partial-wildcard"): {"resolution"},
    ("serviceentry", "none-cidr"): {"resolution"},
}  # fmt: skip

# Where Istio's own words name no field of the document, the field that they are about.
FIELDS = {
    "bad-mode": "mode",
    "bad-port": "portLevelMtls|port",
    "zero-port": "portLevelMtls",
    "high-port": "portLevelMtls|ports",
    "missing-address": "address",
    "bad-uds-dir": "address",
    "bad-uds-relative": "address",
    "uds-with-ports": "ports",
    "bad-selector-value": "workloadSelector",
    "bad-host-wildcard": "hosts",
    "duplicate-ports-name": "name",
    "duplicate-ports-number": "number",
    "bad-port-target": "targetPort",
    "none-with-endpoints": "endpoints",
    "dns-rr-with-multiple-endpoints": "endpoints",
    "bad-cidr-resolution": "addresses",
    "selector-and-endpoints": "workloadSelector",
    "service-account-and-namespace": "serviceAccounts",
    "service-account-and-namespace-principal": "serviceAccounts",
}

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="shared/conformance is not here")


def documents(name: str) -> list[tuple[str, str, tuple[Problem, ...]]]:
    """Per document of a file: its name, Istio's words, and our errors."""
    found, problems = parse_file(name, (DATA / "validation" / f"{name}.yaml").read_bytes())
    assert problems == ()
    judged = []
    for document in found:
        data: dict[str, Any] = dict(document.data)
        words = data.pop("_err", "")
        _, said = read_object(replace(document, data=data))
        errors = tuple(problem for problem in said if problem.severity is Severity.ERROR)
        judged.append((data["metadata"]["name"], words, errors))
    return judged


@needs_data
@pytest.mark.parametrize("kind", FILES)
def test_what_istio_takes_is_taken_but_for_fields_refused_by_name(kind: str) -> None:
    for name, _, errors in documents(f"{kind}-valid"):
        assert {problem.code for problem in errors} <= {"MW0004"}, name
        refused = {problem.path.rpartition(".")[2] for problem in errors}
        expected = REFUSED.get((kind, name), set())
        assert refused in (expected, set()) if name == "bookinfo-ratings" else refused == expected, name


@needs_data
@pytest.mark.parametrize("kind", FILES)
def test_what_istio_refuses_is_refused_at_the_same_field(kind: str) -> None:
    for name, words, errors in documents(f"{kind}-invalid"):
        wrong = [str(problem) for problem in errors if problem.code == "IST0106"]
        field = FIELDS.get(name) or re.split(r"[: ]", words)[0]
        assert any(re.search(field, message) for message in wrong), (name, words, wrong)


# Only what one analyzer's codes say is compared; other analyzers see the same inputs.
ANALYZERS = {
    "virtualServiceConflictingMeshGatewayHosts": "IST0109",
    "virtualServiceConflictingMeshGatewayHostsWithExportTo": "IST0109",
    "host defined in virtualservice not found in the gateway": "IST0132",
    "host defined in virtualservice not found in the gateway with ns(beta version)": "IST0132",
    "virtualServiceDestinationHosts": "IST0112",
}


@needs_data
@pytest.mark.parametrize("name", ANALYZERS)
def test_what_istio_reports_of_several_objects_is_reported(name: str) -> None:
    code = ANALYZERS[name]
    (case,) = (
        case for case in json.loads((DATA / "analyzers" / "cases.json").read_text()) if case["name"] == name
    )
    files = [TextFile(file, (DATA / "analyzers" / file).read_bytes()) for file in case["files"]]
    found = Counter(
        f"{problem.object.kind} {problem.object.namespace}/{problem.object.name}"
        for problem in Reader()(files).problems
        if problem.code == code and problem.object is not None
    )
    assert found == Counter(named(subject) for wanted, subject in case["expected"] if wanted == code)


def named(subject: str) -> str:
    kind, name = subject.split()
    return f"{kind} {name}" if "/" in name else f"{kind} default/{name}"
