"""Which store to use when none is named: the user's own if there is one, else the starter models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

USER_STORE = Path("store")
STARTER_MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True)
class StoreChoice:
    """A store's place, and how it was chosen, in words for the log.

    `is_instead` of the user's own, which is not there yet.
    """

    location: str
    reason: str
    is_instead: bool = False


def choose_store(named: str | None, *, cwd: Path | None = None) -> StoreChoice:
    """Take the store that was named, else `./store` if it exists, else the starter models that ship with Ovenbird."""
    if named:
        return StoreChoice(named, "as asked")
    if ((cwd or Path.cwd()) / USER_STORE).is_dir():
        return StoreChoice(str(USER_STORE), "found ./store")
    return StoreChoice(str(STARTER_MODELS), "no ./store here, so the starter models", is_instead=True)
