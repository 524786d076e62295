"""Talk: what a command says on standard error that is neither its answer nor an error."""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm

_LOG = logging.getLogger("mmearth")


def is_wanted() -> bool:
    """Say whether somebody wants to be talked to; with `mmearth -q` nobody does."""
    return _LOG.isEnabledFor(logging.WARNING)


def say(sentence: object) -> None:
    """Say a sentence on standard error, if it is wanted."""
    if is_wanted():
        tqdm.write(str(sentence), file=sys.stderr)
