"""Catalogues of what Git declares, as worlds are made of them."""

from __future__ import annotations

from mesh.config import Config
from mesh.interning import Recall
from mesh.services import Catalogue
from registries.answers import Answer
from registries.catalogues import Catalogues
from registries.combine import Shares
from registries.entries import declared
from registries.networks import Networks
from registries.roster import Roster


class Declared:
    """Makes catalogues, each sharing with the one before what did not change."""

    def __init__(self) -> None:
        self.recall, self._catalogues, self._networks = Recall(), Catalogues(), Networks()

    def catalogue(
        self, config: Config, roster: Roster = (), *answers: Answer, shares: Shares | None = None
    ) -> Catalogue:
        """What the config declares, and what other registries say, which come before it."""
        every = (*answers, declared(config, self.recall, roster))
        return self._networks.catalogue(self._catalogues, every, shares or {}, config.mesh)


def catalogue(config: Config, roster: Roster = ()) -> Catalogue:
    """What the config declares, from scratch."""
    return Declared().catalogue(config, roster)
