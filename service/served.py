"""What serves of one model, as one value: replaced as a whole when versions come and go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model_store.serving import Selection
from service.live_model import LiveModel


@dataclass(frozen=True)
class Served:
    """What serves of one model: its versions (at least one), the labels that lead to one of them, and the policy."""

    versions: Mapping[int, LiveModel]
    labels: Mapping[str, int] = field(default_factory=dict)
    policy: str = "latest:1"

    @property
    def newest(self) -> LiveModel:
        """The version that answers where none is named."""
        return self.versions[max(self.versions)]

    def grown(self, fresh: Mapping[int, LiveModel]) -> Served:
        """Add versions, or replace them."""
        return Served({**self.versions, **fresh}, self.labels, self.policy)

    def turned_to(self, wanted: Selection) -> Served:
        """Let go of what is not wanted any more, as far as all that is wanted instead has come.

        A label stays where it was as long as the version that it is moved to is not there.
        """
        labels = {
            label: version if version in self.versions else self.labels[label]
            for label, version in wanted.labels.items()
            if version in self.versions or label in self.labels
        }
        if not wanted.versions or not self.versions.keys() >= set(wanted.versions):
            return Served(self.versions, labels, wanted.policy)
        kept = {*wanted.versions, *labels.values()}
        left = {number: live for number, live in self.versions.items() if number in kept}
        return Served(left, labels, wanted.policy)
