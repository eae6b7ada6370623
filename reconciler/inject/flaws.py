"""What is wrong with a manifest, collected at its places."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.places import Path, Place, Step, spell
from mesh.problems import Problem

UNFIT, NO_EFFECT = "MW0020", "MW0005"


@dataclass(frozen=True, slots=True)
class Flaws:
    """The problems of one document, seen from one place in it. Owned by who reads the document."""

    place: Place
    path: Path = ()
    problems: list[Problem] = field(default_factory=list)

    def at(self, *steps: Step) -> Flaws:
        """The same collection, seen from further inside."""
        return Flaws(self.place, (*self.path, *steps), self.problems)

    def error(self, message: str, hint: str) -> None:
        """The Pod cannot be given a sidecar as it is written."""
        self.problems.append(self.place.problem(UNFIT, spell(self.path), message, hint))

    def no_effect(self, message: str) -> None:
        self.problems.append(self.place.problem(NO_EFFECT, spell(self.path), message))
