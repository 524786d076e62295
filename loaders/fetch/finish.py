"""What is done with members as they arrive."""

from __future__ import annotations

from typing import Protocol


class Finish(Protocol):
    """Makes the stored values of one modality into a batch's: a sample at a time."""

    @property
    def look(self) -> list[bool]:
        """Of each sample of the batch, whether there is anything to do."""

    def __call__(self, slot: int) -> None:
        """Finish a sample: best at once, while its bytes are in the processor's cache."""
