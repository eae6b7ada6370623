"""Manifests get their sidecar, and nothing else of them changes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.documents import parse_file
from reconciler.inject import Sidecar, inject
from reconciler.render import problem_lines
from tests.support.golden import differences

FOLDER = Path(__file__).parent / "inject"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SIDECAR = Sidecar(
    image="registry.example/meshwright:0.1.0",
    control_plane=("mesh.example.com:15012",),
    enrolment=("mesh.example.com:15011",),
    ca_root="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
)


def given(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text()


def a_pod(**spec: Any) -> str:
    said = {"containers": [{"name": "app", "image": "app"}], **spec}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, "spec": said})


def injected(text: str, sidecar: Sidecar = SIDECAR) -> Any:
    """The one Pod that comes out."""
    return yaml.safe_load(inject([("pod.yaml", text)], sidecar).text)


def container(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    spec = pod["spec"]
    (found,) = (one for one in [*spec["initContainers"], *spec["containers"]] if one["name"] == name)
    return dict(found)


def test_what_comes_out_is_what_was_looked_at() -> None:
    made = {}
    for name in NAMES:
        done = inject([(f"{name}.yaml", given(name))], SIDECAR)
        if done.text:
            made[f"{name}.yaml"] = done.text
        if done.problems:
            made[f"{name}.problems"] = "".join(f"{problem_lines(one)}\n" for one in done.problems)

    assert differences(FOLDER / "expect", made) == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_second_time_changes_nothing(name: str) -> None:
    """Rendered manifests may be committed, and injected again by the next pipeline."""
    once = inject([(f"{name}.yaml", given(name))], SIDECAR).text

    assert inject([(f"{name}.yaml", once)], SIDECAR).text == once


def test_who_is_out_comes_out_byte_for_byte() -> None:
    assert inject([("out.yaml", given("opt-out"))], SIDECAR).text == given("opt-out")


def test_documents_that_are_not_changed_keep_every_byte() -> None:
    before, _, after = given("deployment").partition("apiVersion: apps/v1")
    last = after[after.index("---") :]
    text = inject([("deployment.yaml", given("deployment"))], SIDECAR).text

    assert text.startswith(before)
    assert text.endswith(last)


def test_line_ends_of_other_systems_and_missing_ones_stay() -> None:
    text = "a: 1\r\n---\r\n# end\r\nb: 2"

    assert inject([("crlf.yaml", text)], SIDECAR).text == text


def test_files_are_one_stream() -> None:
    done = inject([("a.yaml", "a: 1"), ("b.yaml", "--- # b\nb: 2\n"), ("c.yaml", "c: 3\n")], SIDECAR)

    assert done.text == "a: 1\n--- # b\nb: 2\n---\nc: 3\n"


def test_a_document_on_the_line_of_its_marker_comes_to_stand_below_it() -> None:
    done = inject([("a.yaml", f"a: 1\n--- {a_pod()}\n--- {{b: 2}}\n")], SIDECAR)

    assert done.text.startswith("a: 1\n---\napiVersion: v1\n")
    assert done.text.endswith("\n--- {b: 2}\n")
    documents, problems = parse_file("a.yaml", done.text.encode())
    assert [next(iter(one.data)) for one in documents] == ["a", "apiVersion", "b"]
    assert problems == ()


def test_an_error_leaves_nothing_to_be_applied() -> None:
    """Half of a pipeline's manifests must not reach the cluster."""
    assert inject([("refused.yaml", given("refused"))], SIDECAR).text == ""


def test_native_sidecars_run_before_the_applications_init_containers() -> None:
    native = Sidecar(image="i", control_plane=("c",), enrolment=("e",), ca_root="r", is_native=True)
    pod = injected(a_pod(initContainers=[{"name": "migrate", "image": "migrate"}]), native)

    names = [one["name"] for one in pod["spec"]["initContainers"]]
    assert names == ["meshwright-init", "meshwright-enrol", "meshwright-renew", "meshwright-proxy", "migrate"]
    assert [one["name"] for one in pod["spec"]["containers"]] == ["app"]
    assert container(pod, "meshwright-proxy")["restartPolicy"] == "Always"


def test_plain_init_containers_have_the_network_as_it_is() -> None:
    pod = injected(a_pod(initContainers=[{"name": "migrate", "image": "migrate"}]))

    names = [one["name"] for one in pod["spec"]["initContainers"]]
    assert names == ["migrate", "meshwright-init", "meshwright-enrol"]


def test_nobody_but_the_capture_may_change_the_network_and_nobody_is_root_but_it() -> None:
    pod = injected(a_pod())
    rights = {
        name: container(pod, f"meshwright-{name}")["securityContext"]
        for name in ("init", "enrol", "renew", "proxy")
    }

    assert {name: right["capabilities"].get("add", []) for name, right in rights.items()} == {
        "init": ["NET_ADMIN"],
        "enrol": [],
        "renew": [],
        "proxy": [],
    }
    assert [name for name, right in rights.items() if not right["runAsNonRoot"]] == ["init"]
    assert all(right["readOnlyRootFilesystem"] for right in rights.values())
    assert not any(right["allowPrivilegeEscalation"] for right in rights.values())


def test_the_application_sees_neither_key_nor_token() -> None:
    pod = injected(a_pod())

    assert "volumeMounts" not in container(pod, "app")


def expanded(value: str) -> str:
    """What the kubelet makes of it where every variable is known (Kubernetes, third_party/forked/golang)."""
    return re.sub(r"\$(\$|\([^)]*\))", lambda found: "$" if found[1] == "$" else "replaced", value)


@pytest.mark.parametrize("path", ["/$(POD_NAME)", "/a$$(POD_NAME)", "/$$$(POD_NAME)", "/$", "/$$"])
def test_a_variable_in_a_probe_is_not_the_kubelets_to_replace(path: str) -> None:
    probe = {"httpGet": {"path": path, "port": 80}}
    pod = injected(a_pod(containers=[{"name": "app", "livenessProbe": probe}]))

    (said,) = (
        one["value"]
        for one in container(pod, "meshwright-enrol")["env"]
        if one["name"] == "MESHWRIGHT_PROBES"
    )
    assert json.loads(expanded(said))[0]["target"] == path


PROBE = {"httpGet": {"path": "/", "port": "http"}}


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        (
            {"containers": [{"name": "app", "ports": [{"name": "http", "containerPort": "80x"}]}]},
            [
                (
                    "pod.yaml:1: error MW0020 spec.containers[0].ports[0].containerPort: "
                    "expected a port between 1 and 65535, found '80x'"
                )
            ],
        ),
        (
            {
                "containers": [
                    {
                        "name": "app",
                        "ports": [{"name": "http", "containerPort": "9" * 5000}],
                        "livenessProbe": {"tcpSocket": {"port": "9" * 5000}},
                    }
                ]
            },
            [
                (
                    "pod.yaml:1: error MW0020 spec.containers[0].livenessProbe.tcpSocket.port: "
                    f"no port {'9' * 5000!r} in this container"
                ),
                (
                    "pod.yaml:1: error MW0020 spec.containers[0].ports[0].containerPort: "
                    f"expected a port between 1 and 65535, found {'9' * 5000!r}"
                ),
            ],
        ),
        *(
            (
                {"containers": [{"name": name, "livenessProbe": PROBE}]},
                [
                    (
                        "pod.yaml:1: error MW0020 spec.containers[0].name: "
                        f"expected the name of a container, found {name!r}"
                    )
                ],
            )
            for name in ("An_App", "", None, [[1]], "a\nb")
        ),
    ],
)
def test_what_no_kubernetes_would_take_is_a_problem_and_no_traceback(
    spec: dict[str, Any], problems: list[str]
) -> None:
    done = inject([("pod.yaml", a_pod(**spec))], SIDECAR)

    assert sorted(str(one) for one in done.problems) == problems
    assert done.text == ""


def test_a_restart_policy_that_is_no_word_is_no_traceback() -> None:
    assert injected(a_pod(restartPolicy={"a": 1}))["spec"]["restartPolicy"] == {"a": 1}


def test_a_pod_that_only_says_it_has_a_sidecar_does_not_slip_out_of_the_mesh() -> None:
    """An empty value, say, from a template that filled in nothing."""
    pod = json.loads(a_pod())
    pod["metadata"]["annotations"] = {"meshwright.dev/sidecar": ""}
    done = inject([("pod.yaml", json.dumps(pod))], SIDECAR)

    (problem,) = done.problems
    assert str(problem) == (
        'pod.yaml:1: error MW0020 metadata.annotations["meshwright.dev/sidecar"]: '
        "the Pod is said to have its sidecar, and has none"
    )
    assert (
        problem.hint
        == "take the annotation out; who wants no sidecar says so by sidecar.istio.io/inject: 'false'"
    )


def test_what_the_mesh_does_not_know_of_manifests_it_passes_on() -> None:
    text = "just text\n---\n[1, 2]\n"
    done = inject([("odd.yaml", text)], SIDECAR)

    assert [str(one) for one in done.problems] == [
        "odd.yaml:1: error MW0001: expected an object (a mapping), found a single value",
        "odd.yaml:3: error MW0001: expected an object (a mapping), found a list",
    ]
