"""Progress: how long operations tell their caller how far they are."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # the phase, and how much of how much is done


def no_progress(phase: str, done: int, total: int) -> None:
    """The progress callback that tells nobody."""
