"""``.ci/test-servers`` brings what is missing, keeps nothing half made, and says what it could not."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import programs

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci" / "test-servers"
TOOLS = ("bash", "chmod", "cp", "dirname", "flock", "mkdir", "mktemp", "mv", "rm", "sed", "tail", "timeout")
NAMES = ("consul", "etcd", "kube-apiserver")
VERSIONS = {
    name: re.findall(r"(?m)^require \S+ v(\S+)$", (ROOT / f"tests/servers/go/{name}/go.mod").read_text())[0]
    for name in NAMES
}

# As far as the script asks: its version, and a program at `-o`.
GO = '#!/bin/sh\ncase $1 in env) echo go1.26.8 ;; *) while [ "$1" != -o ]; do shift; done; : >"$2" ;; esac\n'
BROKEN_GO = "#!/bin/sh\ncase $1 in env) echo go1.26.8 ;; *) echo no route to host; exit 1 ;; esac\n"
OLD_GO = "#!/bin/sh\necho go1.19.8\n"


class Machine:
    """A home folder and a path with little on it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.path = folder / "home", folder / "bin"
        self.cache = self.home / ".cache/meshwright/test-servers"
        self.path.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.path / tool).symlink_to(found)

    def has(self, program: Path, text: str = "") -> None:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)

    def keeps(self, name: str, version: str) -> None:
        self.has(self.cache / f"{name}-{version}" / "bin" / name)

    def brings(self) -> list[str]:
        """What the script says; it never fails, because tests name what they lack."""
        done = subprocess.run(
            [SCRIPT],
            check=True,
            env={"HOME": str(self.home), "PATH": str(self.path)},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.stdout == ""
        return done.stderr.splitlines()

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.cache.iterdir() if path.name != ".lock")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_each_is_built_once(machine: Machine) -> None:
    machine.has(machine.path / "go", GO)

    assert machine.brings() == [
        f"building {name} {VERSIONS[name]} from its Go module: two to ten minutes, once" for name in NAMES
    ]
    assert machine.kept() == [f"{name}-{VERSIONS[name]}" for name in NAMES]
    assert machine.brings() == []


def test_what_the_path_has_is_not_brought(machine: Machine) -> None:
    for name in NAMES:
        machine.has(machine.path / name)

    assert machine.brings() == []
    assert machine.kept() == []


def test_what_an_interrupted_making_left_is_taken_away(machine: Machine) -> None:
    for name in NAMES:
        machine.keeps(name, VERSIONS[name])
    (machine.cache / ".making-x7Gh2k").mkdir()

    assert machine.brings() == []
    assert machine.kept() == [f"{name}-{VERSIONS[name]}" for name in NAMES]


def test_what_cannot_be_built_is_named_with_the_reason(machine: Machine) -> None:
    machine.has(machine.path / "go", BROKEN_GO)
    for name in ("consul", "kube-apiserver"):
        machine.keeps(name, VERSIONS[name])

    assert machine.brings() == [
        f"building etcd {VERSIONS['etcd']} from its Go module: two to ten minutes, once",
        "no route to host",
        f"etcd {VERSIONS['etcd']} could not be built: see {machine.cache}/etcd.log",
        "no etcd: tests that need it will be skipped",
    ]


def test_without_a_new_go_and_without_debian_every_server_is_named(machine: Machine) -> None:
    machine.has(machine.path / "go", OLD_GO)

    assert machine.brings() == [
        "no Go of 1.21 or newer on this machine: unpacking Debian's 1.23, for the test servers alone",
        "unpacking consul 1.8.7 of Debian: some seconds, once",
        "no consul: tests that need it will be skipped",
        "no etcd: tests that need it will be skipped",
        "no kube-apiserver: tests that need it will be skipped",
    ]


def test_debians_consul_will_do_where_none_can_be_built(machine: Machine) -> None:
    machine.has(machine.path / "go", BROKEN_GO)
    machine.keeps("consul", "1.8.7")

    assert "no consul: tests that need it will be skipped" not in machine.brings()


def test_tests_take_the_newest_that_was_brought(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.home / ".cache"))
    monkeypatch.setenv("PATH", str(machine.path))
    machine.has(machine.path / "consul")
    assert programs.find("consul") == machine.path / "consul"

    for version in ("1.8.7", "1.22.5"):
        machine.keeps("consul", version)
    assert programs.find("consul") == machine.cache / "consul-1.22.5/bin/consul"


def test_what_kubebuilder_assets_names_comes_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.home / ".cache"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(machine.home / "assets"))
    machine.keeps("etcd", "3.6.8")
    machine.has(machine.home / "assets/etcd")

    assert programs.find("etcd") == machine.home / "assets/etcd"
