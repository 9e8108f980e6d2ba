"""The store's versions → live models: load, swap, unload, watch.

A new version is loaded, warmed and verified beside the old one, in a thread; then one assignment on the event loop
swaps them, and the old one finishes what it was given. A version that is refused leaves the old one in place,
and its reason in the index, the metrics and the log. Models of one group are swapped together or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

from model_store import InvalidManifest, Store, StoredVersion
from service import live_model
from service.errors import ControlRefused, ModelRefused, NotReady, UnknownModel, UnknownVersion
from service.fingerprints import BareFolders, Fingerprint, fingerprint
from service.live_model import LiveModel
from service.settings import Settings
from service.telemetry.logs import LOGGER
from service.telemetry.metrics import Metrics

Result = TypeVar("Result")
State = Literal["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]

# How often an old version is looked at until its queue is empty.
DRAIN_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class VersionStatus:
    """One line of the index."""

    name: str
    version: int
    state: State
    reason: str = ""


@dataclass(frozen=True)
class _Look:
    """What a look at the store found: versions to bring in (groups together), models and refused versions gone."""

    news: Sequence[list[StoredVersion]] = ()
    gone: Sequence[str] = ()
    gone_refused: Sequence[tuple[str, int]] = ()


class Repository:
    """The live models of one process.

    What changes: `_serving` (replaced as a whole, so that readers in any thread see one consistent state),
    `_refused` and `_status`. All are changed on the event loop only.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        metrics: Metrics,
        *,
        threads: int = 1,
        load: Callable[..., LiveModel] = live_model.load,
    ) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._threads = threads
        self._load = load
        self._serving: Mapping[str, LiveModel] = {}
        self._status: dict[tuple[str, int], VersionStatus] = {}
        # What a refused version's files looked like: unchanged, it is not tried again.
        self._refused: dict[tuple[str, int], Fingerprint] = {}
        self._bare = BareFolders()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._watcher: asyncio.Task[None] | None = None
        self._draining: set[asyncio.Task[None]] = set()
        self._started = False

    @property
    def ready(self) -> bool:
        """Whether the first load is done, and something serves (or the store is empty)."""
        return self._started and (bool(self._serving) or not self._status)

    def names(self) -> list[str]:
        """List the models that are served."""
        return sorted(self._serving)

    def live(self) -> list[LiveModel]:
        """List what is served, by name."""
        return [self._serving[name] for name in self.names()]

    def get(self, name: str, version: str | None = None) -> LiveModel:
        """Find the model that answers for this name, and version if one is named.

        Raises:
            UnknownModel: neither served nor known.
            UnknownVersion: the model is served, but not in that version.
            NotReady: known, but it does not serve: loading, or refused; says why.
        """
        model = self._serving.get(name)
        if model is not None and (version is None or version == str(model.version)):
            return model
        self._raise_if_not_ready(name, version)
        if model is None:
            hint = "; control is explicit: load it first" if self._settings.control == "explicit" else ""
            raise UnknownModel(name, known=self._known_names(), hint=hint)
        raise UnknownVersion(name, str(version), known=[model.version])

    def _raise_if_not_ready(self, name: str, version: str | None) -> None:
        for status in self._status.values():
            if status.name == name and version in (None, str(status.version)) and status.state != "READY":
                why = f": {status.reason}" if status.reason else ""
                raise NotReady(f"model {name!r} version {status.version} is {status.state}{why}")

    def _known_names(self) -> list[str]:
        return sorted({status.name for status in self._status.values()})

    def index(self) -> list[VersionStatus]:
        """List every version that was looked at, with its state and the reason for it."""
        return [self._status[key] for key in sorted(self._status)]

    def not_loaded(self) -> list[VersionStatus]:
        """List, with control `explicit`, what the store has and nobody has asked for. Reads the disk."""
        if self._settings.control != "explicit":
            return []
        looked_at = {status.name for status in self._status.values()}
        return [
            VersionStatus(name, self._store.versions(name)[-1], "UNAVAILABLE", "not loaded")
            for name in self._store.models()
            if name not in looked_at
        ]

    async def start(self, *, names: Iterable[str] | None = None) -> None:
        """Load what the control mode says (with `explicit`: these names, or else the settings'); with `poll`, watch."""
        if self._settings.control == "explicit":
            await self._load_named(self._settings.load if names is None else names)
        else:
            await self.refresh()
        self._started = True
        if self._settings.control == "poll":
            self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching, and let go of the models."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        for model in self._serving.values():
            model.close()
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def _load_named(self, names: Iterable[str]) -> None:
        names = tuple(names)
        if "*" in names:
            await self.refresh()
            return
        for name in names:
            await self.check_in_store(name)
        await self.refresh(names)

    async def newest(self, name: str) -> int:
        """Find a model's newest whole version in the store, whether it serves or not; raises `UnknownModel`."""
        await self.check_in_store(name)
        return (await self._in_thread(self._store.resolve, name)).version

    def serving(self) -> dict[str, int]:
        """Tell which version of each model serves."""
        return {name: model.version for name, model in self._serving.items()}

    async def load(self, name: str, version: int) -> None:
        """Serve exactly this version of a model, also if it was refused before.

        Raises:
            ControlRefused: it cannot serve; what served before serves on.
        """
        if self.serving().get(name) == version:
            return
        stored: StoredVersion = await self._in_thread(self._store.resolve, name, version)
        self._set_status(name, version, "LOADING")
        try:
            loaded = await self._in_thread(self._load_one, stored)
        except ModelRefused as error:
            await self._refuse([stored], stored, str(error))
            raise ControlRefused(f"version {version} of model {name!r} cannot serve: {error}") from None
        self._refused.pop((name, version), None)
        self._swap_in([loaded])

    async def check_in_store(self, name: str) -> None:
        """Raise `UnknownModel` unless the store has this model."""
        known = await self._in_thread(self._store.models)
        if name not in known:
            raise UnknownModel(name, known=known)

    def unload(self, name: str) -> None:
        """Stop serving a model; what it was given is finished. Raises `UnknownModel` if it is not served."""
        model = self._serving.get(name)
        if model is None:
            raise UnknownModel(name, known=self.names())
        self._serving = {known: live for known, live in self._serving.items() if known != name}
        self._retire(model)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_interval)
            try:
                await self.refresh()
            except Exception:  # a look that fails (a disk away for a moment) must not end the watching
                LOGGER.exception("looking at the store failed; what is loaded serves on")

    async def refresh(self, names: Iterable[str] | None = None) -> None:
        """Bring what is served in line with the store: newer versions in, removed models out."""
        look = await self._in_thread(self._look, None if names is None else tuple(names))
        if look is None:
            LOGGER.warning("the store %s is not there; what is loaded serves on", self._store.root)
            return
        for batch in look.news:
            await self._bring_in(batch)
        if self._settings.control != "explicit":
            self._forget(look)

    def _look(self, names: tuple[str, ...] | None = None) -> _Look | None:
        """Compare the store with what is served; None if the store is away though something serves from it."""
        if not self._store.root.is_dir():
            return _Look() if not self._serving else None
        present = self._store.models()
        chosen = present if names is None else names
        news = [stored for name in chosen if (stored := self._newer(name)) is not None]
        bad = [key for key in self._refused if not self._store.root.joinpath(key[0], str(key[1])).is_dir()]
        return _Look(_by_group(news), [name for name in self._serving if name not in present], bad)

    def _newer(self, name: str) -> StoredVersion | None:
        """Find what should replace the served version: the newest whole one that is not known to be bad."""
        serving = self._serving.get(name)
        for number in reversed(self._store.versions(name)):
            stored = self._store.resolve(name, number)
            if serving is not None and serving.version == number:
                return stored if self._bare.was_loaded(stored) and self._has_news(stored) else None
            if self._is_known_to_be_bad(stored) or not self._store.has_whole_group(stored):
                continue
            if not stored.is_bare or self._has_news(stored):
                return stored
        return None

    def _has_news(self, stored: StoredVersion) -> bool:
        return self._bare.has_news(stored, at_start=not self._started)

    def _is_known_to_be_bad(self, stored: StoredVersion) -> bool:
        refusal = self._refused.get((stored.model, stored.version))
        return refusal is not None and refusal == fingerprint(stored)

    async def _bring_in(self, batch: list[StoredVersion]) -> None:
        """Load versions that belong together and swap them in; if one is refused, none is, and older ones are tried."""
        loaded: list[LiveModel] = []
        for stored in batch:
            self._set_status(stored.model, stored.version, "LOADING")
            try:
                loaded.append(await self._in_thread(self._load_one, stored))
            except ModelRefused as error:
                for model in loaded:
                    model.close()
                await self._refuse(batch, stored, str(error))
                older = await self._in_thread(self._look, tuple(stored.model for stored in batch))
                for candidates in older.news if older else ():
                    await self._bring_in(candidates)
                return
        for stored in batch:
            self._bare.loaded(stored)
        self._swap_in(loaded)

    def _load_one(self, stored: StoredVersion) -> LiveModel:
        return self._load(stored, self._settings, self._metrics, threads=self._threads)

    async def _refuse(self, batch: list[StoredVersion], bad: StoredVersion, reason: str) -> None:
        for stored in batch:
            said = reason if stored is bad else f"{bad} of its group was refused: {reason}"
            self._refused[stored.model, stored.version] = await self._in_thread(fingerprint, stored)
            self._set_status(stored.model, stored.version, "UNAVAILABLE", said)
            LOGGER.error("refused %s: %s", stored, said)

    def _swap_in(self, loaded: list[LiveModel]) -> None:
        before = self._serving
        self._serving = {**before, **{model.name: model for model in loaded}}
        for model in loaded:
            self._set_status(model.name, model.version, "READY")
            self._metrics.set_provider(model.name, model.version, model.provider, loaded=True)
            LOGGER.info("ready: %s@%s on %s", model.name, model.version, model.provider)
            old = before.get(model.name)
            if old is not None:
                self._retire(old)

    def _retire(self, old: LiveModel) -> None:
        current = self._serving.get(old.name)
        if current is None or current.version != old.version:
            self._set_status(old.name, old.version, "UNLOADING")
        task = asyncio.create_task(self._drain(old))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drain(self, old: LiveModel) -> None:
        # One more turn at least: a request that has chosen this model may be about to submit to it.
        await asyncio.sleep(DRAIN_LOOK_SECONDS)
        while not old.batcher.idle:
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
        old.close()
        current = self._serving.get(old.name)
        if current is None or current.version != old.version:
            self._metrics.set_provider(old.name, old.version, old.provider, loaded=False)
            self._drop_status(old.name, old.version)
        LOGGER.info("unloaded: %s@%s", old.name, old.version)

    def _forget(self, look: _Look) -> None:
        """Unload models that were removed from the store, and drop what is said of refused versions that are gone."""
        retired = [self._serving[name] for name in look.gone]
        self._serving = {name: model for name, model in self._serving.items() if name not in look.gone}
        for model in retired:
            self._retire(model)
        for key in look.gone_refused:
            del self._refused[key]
            self._drop_status(*key)

    def _set_status(self, name: str, version: int, state: State, reason: str = "") -> None:
        self._status = {**self._status, (name, version): VersionStatus(name, version, state, reason)}
        self._metrics.set_state(name, version, state)

    def _drop_status(self, name: str, version: int) -> None:
        self._status = {key: status for key, status in self._status.items() if key != (name, version)}
        self._metrics.set_state(name, version, None)

    async def _in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._loader, work, *arguments)


def _by_group(versions: Iterable[StoredVersion]) -> list[list[StoredVersion]]:
    """Put versions of one group together; the others alone."""
    groups: dict[str, list[StoredVersion]] = {}
    for stored in versions:
        try:
            group = stored.manifest.group
        except InvalidManifest:
            group = None
        groups.setdefault(group.id if group else f"{stored}", []).append(stored)
    return list(groups.values())
