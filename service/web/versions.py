"""The versions that serve, as the pages for people show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.live_model import LiveModel
from service.repository import Repository, VersionStatus


@dataclass(frozen=True)
class ServedVersion:
    """One version that serves.

    `path` is the end of the path by which it is asked, `anchor` its place on /docs, `is_default` whether it answers
    where no version is named, `others` whether more versions of this model serve, and `reason` what is wrong with it.
    """

    model: LiveModel
    path: str
    anchor: str
    is_default: bool
    others: bool
    labels: tuple[str, ...]
    reason: str


def served_versions(repository: Repository, index: Sequence[VersionStatus]) -> list[ServedVersion]:
    """List what serves: by name, the newest version first, with what the index says of it."""
    served, reasons = repository.served(), {(line.name, line.version): line.reason for line in index}
    found: list[ServedVersion] = []
    for model in sorted(repository.live(), key=lambda live: (live.name, -live.version)):
        selection = served.get(model.name)
        versions = selection.versions if selection else (model.version,)
        default = model.version == max(versions)
        found.append(
            ServedVersion(
                model,
                path=model.name if default else f"{model.name}/versions/{model.version}",
                anchor=model.name if default else f"{model.name}@{model.version}",
                is_default=default,
                others=len(versions) > 1,
                labels=tuple(sorted(label for label, to in selection.labels.items() if to == model.version))
                if selection
                else (),
                reason=reasons.get((model.name, model.version), ""),
            )
        )
    return found
