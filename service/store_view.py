"""The store against what serves: what shall serve, what of it is new, and what was refused and need not be tried again.

Everything here reads the disk, so it is called from the loader's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from model_store import Serving, Store, StoreAway, StoredVersion, StoreError
from model_store.serving import Selection
from service.fingerprints import Fingerprint, WatchedFolders, fingerprint
from service.live_model import LiveModel
from service.telemetry.logs import LOGGER


@dataclass(frozen=True)
class Look:
    """What a look at the store found.

    `wanted`: what shall serve of each model. `news`: versions to bring in for it (groups together). `troubles`: what is
    wrong with a model's serving.json or labels.json, and its newest version. `gone`: models and refused versions that
    the store has no more.
    """

    wanted: Mapping[str, Selection] = field(default_factory=dict)
    news: Sequence[list[StoredVersion]] = ()
    troubles: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    gone: Sequence[str] = ()
    gone_refused: Sequence[tuple[str, int]] = ()


class StoreView:
    """Looks at a store.

    Args:
        store: where the models lie.
        live: finds what serves a version, if anything does.

    What changes: `_refused` (what a refused version looked like, and how it was to be run: unchanged, it is not tried
    again), what is known of folders that may be written to, and `_not_at_hand` (why a version could not be fetched).
    """

    def __init__(self, store: Store, live: Callable[[StoredVersion], LiveModel | None]) -> None:
        self._store = store
        self._live = live
        self._refused: dict[tuple[str, int], tuple[Fingerprint, Serving]] = {}
        self._folders = WatchedFolders()
        self._not_at_hand: dict[tuple[str, int], str] = {}

    def look(self, served: Collection[str], names: Iterable[str] | None, *, at_start: bool) -> Look | None:
        """Compare the store with what is served; None if the store is away though something serves from it.

        Args:
            served: the models of which something serves.
            names: the models to look at; None for all.
            at_start: whether this is the first look: then a folder that is old enough counts as whole.
        """
        if not self._store.root.is_dir():
            return Look() if not served else None
        present = self._store.models()
        wanted: dict[str, Selection] = {}
        news: list[StoredVersion] = []
        troubles: dict[str, tuple[int, str]] = {}
        for name in present if names is None else names:
            known = self._store.versions(name)
            try:
                serving = self._store.serving(name)
                may_serve = partial(self._may_serve, serving=serving, at_start=at_start)
                wanted[name] = self._store.select(name, may_serve=may_serve, serving=serving, known=known)
            except StoreError as error:
                troubles[name] = (known[-1], str(error))
                continue
            if trouble := _trouble(serving, wanted[name], known):
                troubles[name] = (known[-1], trouble)
            chosen = [self._store.stored(name, number) for number in wanted[name].versions]
            news += [stored for stored in chosen if self._is_news(stored, serving)]
        return Look(
            wanted,
            _by_group(news),
            troubles,
            gone=[name for name in served if name not in present],
            gone_refused=[key for key in self._refused if not self._store.stored(*key).path.is_dir()],
        )

    def missing(self, name: str, versions: Iterable[int]) -> list[StoredVersion]:
        """List those of a model's versions that do not serve as they lie in the store; raises `StoreError`."""
        serving = self._store.serving(name)
        stored = [self._store.resolve(name, version) for version in versions]
        return [version for version in stored if not self._serves_as(version, serving)]

    def is_refused(self, name: str, version: int) -> bool:
        """Tell whether a version was refused, and nothing has replaced it since."""
        return (name, version) in self._refused

    def refused(self, stored: StoredVersion) -> None:
        """Note that a version was refused as it is now."""
        try:
            serving = self._store.serving(stored.model).of_session
        except StoreError:
            serving = Serving()
        self._refused[stored.model, stored.version] = (fingerprint(stored), serving)

    def accepted(self, name: str, version: int) -> None:
        """Forget that a version was refused."""
        self._refused.pop((name, version), None)

    def loaded(self, stored: StoredVersion, files: Fingerprint) -> None:
        """Note how the files of a version looked when it was loaded: of one without a manifest, changes are news."""
        if stored.is_bare:
            self._folders.loaded(stored, files)

    def _is_news(self, stored: StoredVersion, serving: Serving) -> bool:
        if self._live(stored) is None or self._serves_as(stored, serving):
            return self._live(stored) is None
        return not self._is_known_to_be_bad(stored, serving) and self._is_whole(stored, at_start=False)

    def _serves_as(self, stored: StoredVersion, serving: Serving) -> bool:
        """Tell whether a version serves as it lies in the store now, and as serving.json wants it run."""
        live = self._live(stored)
        return live is not None and live.serving == serving.of_session and not self._folders.has_changed(stored)

    def _may_serve(self, stored: StoredVersion, *, serving: Serving, at_start: bool) -> bool:
        live = self._live(stored)
        if live is not None:
            # What is known of it need not be read from the disk at every look.
            return not self._store.is_withdrawn_in(live.group, stored.version)
        return (
            not self._is_known_to_be_bad(stored, serving)
            and self._store.may_serve_with_its_group(stored)
            and self._is_at_hand(stored)
            and self._is_whole(stored, at_start=at_start)
        )

    def not_at_hand(self, name: str, version: int) -> str:
        """Say why a version could not be fetched from a remote store; "" if it was, or nobody tried."""
        return self._not_at_hand.get((name, version), "")

    def _is_at_hand(self, stored: StoredVersion) -> bool:
        """Fetch a version, with its group, from a remote store; what cannot be had now is tried again at the next look.

        A version whose files are bad is tried: loading it says what is wrong with it.
        """
        key = (stored.model, stored.version)
        try:
            for member in self._store.group_of(stored):
                self._store.fetch(self._store.stored(member, stored.version))
        except StoreAway as error:
            if key not in self._not_at_hand:
                LOGGER.warning("%s", error)
            self._not_at_hand[key] = str(error)
            return False
        except StoreError:
            pass
        self._not_at_hand.pop(key, None)
        return True

    def _is_whole(self, stored: StoredVersion, *, at_start: bool) -> bool:
        """Tell whether a folder has been copied whole.

        A manifest names every file's sha256, so it is simply tried; what failed once, or has no manifest, must stand
        still first: a slow upload is not read again at every look.
        """
        may_be_tried = not stored.is_bare and not self.is_refused(stored.model, stored.version)
        return may_be_tried or self._folders.stands_still(stored, at_start=at_start)

    def _is_known_to_be_bad(self, stored: StoredVersion, serving: Serving) -> bool:
        refused = self._refused.get((stored.model, stored.version))
        return refused is not None and refused == (fingerprint(stored), serving.of_session)


def _trouble(serving: Serving, wanted: Selection, known: Sequence[int]) -> str:
    """Say what serving.json and labels.json ask for in vain; "" if nothing."""
    there = ", ".join(map(str, known))
    named = serving.version_policy.specific.versions if serving.version_policy.specific is not None else ()
    lacking = sorted({*named} - {*known})
    troubles = [
        f"label {label!r} names version {number}" for label, number in wanted.labels.items() if number not in known
    ]
    if lacking:
        troubles.append(f"the version policy names {', '.join(map(str, lacking))}")
    said = [f"{', and '.join(troubles)}; the store has versions {there}"] if troubles else []
    if not serving.version_policy.select(known, lambda number: number not in serving.withdrawn):
        withdrawn = f", with {', '.join(map(str, serving.withdrawn))} withdrawn" if serving.withdrawn else ""
        said.append(f"serving.json chooses none of the versions {there}: {serving.version_policy}{withdrawn}")
    return "; ".join(said)


def _by_group(versions: Iterable[StoredVersion]) -> list[list[StoredVersion]]:
    """Put versions of one group together; the others alone."""
    groups: dict[str, list[StoredVersion]] = {}
    for stored in versions:
        try:
            group = None if stored.is_bare else stored.manifest.group
        except StoreError:
            group = None
        groups.setdefault(group.id if group else f"{stored}", []).append(stored)
    return list(groups.values())
