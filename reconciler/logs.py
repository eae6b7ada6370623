"""One line per event, keys and values."""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class KeysAndValues(logging.Formatter):
    """``2026-03-01T12:00:00Z INFO world published revision=3f2a91c services=41``."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The phrase, then what was given in ``extra``, in the order given."""
        pairs = " ".join(
            f"{key}={_value(value)}" for key, value in vars(record).items() if key not in _STANDARD
        )
        line = f"{self.formatTime(record)} {record.levelname} {record.getMessage()}"
        if pairs:
            line = f"{line} {pairs}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


def _value(value: object) -> str:
    text = str(value)
    is_plain = text and all(letter.isprintable() and letter not in ' "' for letter in text)
    return text if is_plain else repr(text)


def set_up(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every logger's lines to stderr; libraries speak from warnings upward only."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(KeysAndValues())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for room in ("mesh", "registries", "ca", "xds", "reconciler"):
        logging.getLogger(room).setLevel(level)
