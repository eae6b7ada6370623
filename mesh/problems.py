"""The numbered catalogue of what can be wrong with user config.

A code is public and never reused; a retired one leaves a comment behind. Codes are Istio's
(``pkg/config/analysis/msg/messages.yaml``) where Istio has one, ``MW…`` otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mesh.names import ObjectKey


class Severity(StrEnum):
    """How much a problem matters. Only an error holds its unit."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the catalogue."""

    id: str
    severity: Severity
    meaning: str


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

CATALOGUE: dict[str, Code] = {
    code.id: code
    for code in (
        Code("IST0002", _W, "a deprecated field or value is used"),
        Code("IST0101", _E, "a referenced resource does not exist"),
        Code("IST0106", _E, "the document does not fit the schema of its kind"),
        Code("IST0109", _W, "several VirtualServices of the mesh claim one host"),
        Code("IST0110", _E, "several Sidecars select one workload"),
        Code("IST0111", _E, "several Sidecars without a selector in one namespace"),
        Code("IST0112", _E, "a destination of several ports needs a port"),
        Code("IST0126", _W, "meshNetworks names a registry that there is not"),
        Code("IST0127", _W, "a selector matches no workload"),
        Code("IST0130", _W, "a route can never be reached"),
        Code("IST0131", _I, "a match has no effect"),
        Code("IST0132", _W, "a host of a VirtualService is in none of its gateways"),
        Code("IST0133", _W, "the document fits its schema, and is probably not what was meant"),
        Code("MW0001", _E, "the file is not readable as YAML or JSON"),
        Code("MW0002", _E, "a key appears twice in one mapping"),
        Code("MW0003", _E, "two documents name the same object"),
        Code("MW0004", _E, "the field is known and not supported yet"),
        Code("MW0005", _I, "the field has no effect here"),
        Code("MW0006", _I, "the document belongs to a foreign API group and is passed over"),
        Code("MW0007", _I, "a tie was broken"),
        Code("MW0008", _I, "there is no Mesh document; defaults are used"),
        Code("MW0009", _E, "the document names no known kind of its group"),
        Code("MW0010", _E, "the repository cannot be read as a mesh"),
        Code("MW0011", _I, "the host is not known to this repository"),
        Code("MW0012", _W, "an entry of the repository is not followed"),
        Code("MW0013", _W, "nobody keeps a certificate that a Gateway names"),
        Code("MW0014", _E, "a service has the address of a workload"),
        Code("MW0015", _W, "several registries claim one host"),
        Code("MW0016", _I, "one address serves a service twice"),
        Code("MW0017", _W, "registries that share a host disagree about it"),
        Code("MW0018", _I, "one workload is known to several registries"),
        Code("MW0019", _E, "a commit removes more of a unit than is believed at once"),
        Code("MW0020", _E, "a Pod cannot be given a sidecar as it is written"),
        Code("MW0021", _W, "something in a registry cannot be used as it is"),
        Code("MW0022", _W, "a registry is not heard"),
        Code("MW0023", _W, "removals that a registry claims are not believed yet"),
        Code("MW0024", _W, "an address or a port cannot be served as it is"),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A place in the repository: a file and a line (from 1; 0 means the file as a whole)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with the user's config, and what to do about it.

    ``path`` is the path inside the document (``spec.http[0].timeout``), ``object`` the object it is
    in, when that much could be read.
    """

    code: str
    where: Where
    message: str
    path: str = ""
    object: ObjectKey | None = None
    hint: str = ""

    def __post_init__(self) -> None:
        if self.code not in CATALOGUE:
            raise KeyError(f"no such code: {self.code}")

    @property
    def severity(self) -> Severity:
        return CATALOGUE[self.code].severity

    def __str__(self) -> str:
        path = f" {self.path}" if self.path else ""
        return f"{self.where}: {self.severity} {self.code}{path}: {self.message}"


def has_errors(problems: Iterable[Problem]) -> bool:
    return any(problem.severity is Severity.ERROR for problem in problems)


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """By file, line, path and code: the order in which they are reported."""
    return tuple(sorted(set(problems), key=lambda p: (p.where.file, p.where.line, p.path, p.code, p.message)))
