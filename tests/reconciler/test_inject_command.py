"""``meshwright inject`` and ``meshwright enrol`` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from ca import minting
from mesh.clock import SystemClock
from reconciler.cli import main
from tests.support.certificates import an_authority

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: a}]}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    file = tmp_path / "root-cert.pem"
    file.write_bytes(minting.pem(*an_authority(SystemClock().now()).roots))
    return file


def inject(root: Path, *words: object, stdin: str = "", control_plane: str = "mesh.example.com") -> Result:
    said = ("--image", "i", "--control-plane", control_plane, "--ca-root", root, *words)
    return CliRunner().invoke(main, ["inject", *map(str, said)], input=stdin)


def arguments(text: str) -> list[str]:
    """Of the program that enrols."""
    (found,) = (
        one for one in yaml.safe_load(text)["spec"]["initContainers"] if one["name"] == "meshwright-enrol"
    )
    return list(found["args"])


def test_it_stands_in_a_pipe(root: Path) -> None:
    done = inject(root, "-f", "-", stdin=POD)

    assert (done.exit_code, done.stderr) == (0, "")
    assert {"--server=mesh.example.com:15011", "--control-plane=mesh.example.com:15012"} < {
        *arguments(done.stdout)
    }


def test_a_pipe_whose_manifests_are_wrong_hands_nothing_on(root: Path) -> None:
    done = inject(root, "-f", "-", stdin=f"{POD}---\n{POD.replace('spec: {', 'spec: {hostNetwork: true, ')}")

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "stdin:9: error MW0020 spec.hostNetwork: a Pod in the network of its node cannot have a sidecar: "
        "the capture would be the node's\n"
        "    hint: take hostNetwork out, or label the Pod with sidecar.istio.io/inject: 'false'\n"
    )


def test_folders_are_read_in_the_order_of_names(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    for name, text in (("b.yaml", "b: 1\n"), ("a.json", '{"a": 1}'), ("c.txt", "c"), ("d.yml", "d: 1\n")):
        (folder / name).write_text(text)

    assert inject(root, "-f", folder).stdout == '{"a": 1}\n---\nb: 1\n---\nd: 1\n'


def test_places_and_the_cluster_can_be_said(root: Path) -> None:
    done = inject(
        root, "-f", "-", "--enrolment", "[2001:db8::1]:9", "--cluster", "east", stdin=POD, control_plane="::1"
    )

    assert {
        "--server=[2001:db8::1]:9",
        "--control-plane=[::1]:15012",
        "--cluster=east",
    } < {*arguments(done.stdout)}


def test_a_key_beside_the_root_goes_into_no_manifest(root: Path) -> None:
    """``ca-key.pem`` and ``root-cert.pem`` lie in one folder."""
    root.write_bytes(minting.key_pem(an_authority(SystemClock().now()).key) + root.read_bytes())
    done = inject(root, "-f", "-", stdin=POD)

    assert done.exit_code == 0
    assert "PRIVATE KEY" not in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--trust-domain", "no domain"), "error: not a trust domain: 'no domain'\n"),
        (("--enrolment", "mesh:port"), "error: not a place of a control plane: 'mesh:port'\n"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_printed(
    root: Path, words: tuple[str, ...], message: str
) -> None:
    done = inject(root, "-f", "-", *words, stdin=POD)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)


def test_a_root_that_is_none_is_said(root: Path) -> None:
    root.write_text("no certificate")
    done = inject(root, "-f", "-", stdin=POD)

    assert (done.exit_code, done.stderr) == (
        2,
        f"error: {root} holds no readable PEM certificates\nhint: it is root-cert.pem of the mesh's CA\n",
    )


def enrol(folder: Path, root: Path, *words: object) -> Result:
    said = (
        *(
            "web-1.shop",
            "--address",
            "10.0.0.7",
            "--server",
            "127.0.0.1:1",
            "--control-plane",
            "mesh.example.com",
        ),
        *("--token-file", folder / "none", "--dir", folder / "run", "--ca-root", root, *words),
    )
    return CliRunner().invoke(main, ["enrol", *map(str, said)])


def test_the_bootstrap_is_there_before_anybody_is_asked(root: Path, tmp_path: Path) -> None:
    """And Envoy's windows are on the Pod's own address, whatever family that is of."""
    probes = [
        {
            "path": "/app-health/app/livez",
            "means": "tcp",
            "port": 80,
            "target": "",
            "timeout_s": 1,
            "period_s": 2,
        }
    ]
    done = enrol(tmp_path, root, "--probes", json.dumps(probes))

    assert done.exit_code == 2
    assert "error: cannot read the token from" in done.stderr
    made = json.loads((tmp_path / "run" / "bootstrap.json").read_text())
    sockets = {
        one["name"]: (
            one["address"]["socket_address"]["address"],
            one["address"]["socket_address"]["port_value"],
        )
        for one in made["static_resources"]["listeners"]
    }
    assert made["node"]["id"] == "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local"
    assert sockets == {
        "metrics": ("10.0.0.7", 15090),
        "readiness": ("10.0.0.7", 15021),
        "probes": ("10.0.0.7", 15020),
    }


@pytest.mark.parametrize(
    "probes", ["{", "[1]", '[{"path": "/", "means": "tcp", "port": 1}]', '[{"means": "smoke"}]']
)
def test_probes_that_somebody_has_changed_are_refused(root: Path, tmp_path: Path, probes: str) -> None:
    done = enrol(tmp_path, root, "--probes", probes)

    assert done.exit_code == 2
    assert "error: the probes cannot be read" in done.stderr
    assert not (tmp_path / "run" / "bootstrap.json").exists()
