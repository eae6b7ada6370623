"""Worlds out of files, as the control plane would make them of a repository, without the repository."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.config import Config, ConfigObject
from mesh.documents import DocumentCache, parse_file
from mesh.kinds.objects import SpecCache, read_object
from mesh.world import World
from tests.support.catalogues import Declared


class Worlds:
    """Makes worlds, each sharing with the one before what did not change."""

    def __init__(self) -> None:
        self._documents, self._specs, self._declared = DocumentCache(), SpecCache(), Declared()
        self._number = 0

    def of(self, files: Mapping[str, str], before: World | None = None) -> World:
        """The world of these files. They must be without problems."""
        objects = []
        for file, text in files.items():
            documents, problems = parse_file(file, text.encode(), self._documents)
            for document in documents:
                found, wrong = read_object(document, self._specs)
                problems += wrong
                assert isinstance(found, ConfigObject), problems
                objects.append(found)
            assert not problems, problems
        config = Config.build(objects, before.config if before else None)
        self._number += 1
        services = self._declared.catalogue(config)
        return World(revision=f"revision-{self._number}", config=config, services=services)
