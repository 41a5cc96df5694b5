"""What sources have in common that read what other exchanges wrote: where they are is kept in the decision's commit."""

from __future__ import annotations

from collections.abc import Iterable


class MarksInCommit:
    """A source whose marks are written in the commit that decides a batch of it: nothing is skipped or begun anew."""

    marks_in_commit = True

    def mark(self, path: str) -> str:
        """Nothing: marks are made when items are planned."""
        del path
        return ""

    def finish(self, paths: Iterable[str]) -> None:
        """Nothing to do: what was read stays, the mark tells how far."""
