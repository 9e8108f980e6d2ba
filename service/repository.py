"""The store's versions → live models: load, swap, unload, watch.

New versions are loaded, warmed and verified beside the old ones, in a thread; then one assignment on the event loop
swaps them, and an old one finishes what it was given. A version that is refused leaves the old one in place,
and its reason in the index, the metrics and the log. Models of one group are swapped together or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from model_store import Store, StoredVersion, StoreError
from model_store.manifest import REPORT_FILE, Manifest
from model_store.serving import Selection, VersionPolicy
from service import live_model
from service.errors import ControlRefused, ModelRefused, NoReport, NotReady, UnknownLabel, UnknownModel, UnknownVersion
from service.fingerprints import fingerprint
from service.live_model import LiveModel
from service.served import Served
from service.settings import Settings
from service.store_sync import StoreSync
from service.store_view import Look, StoreView
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


class Repository:
    """The live models of one process.

    What changes: `_serving` (replaced as a whole, so that readers in any thread see one consistent state), `_status`
    and `_troubles`. All are changed on the event loop only.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        metrics: Metrics,
        *,
        processors: int = 1,
        load: Callable[..., LiveModel] = live_model.load,
    ) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._processors = processors
        self._load = load
        self._serving: Mapping[str, Served] = {}
        self._status: dict[tuple[str, int], VersionStatus] = {}
        self._troubles: Mapping[str, tuple[int, str]] = {}
        self._view = StoreView(store, self._live)
        self._sync = StoreSync(store, metrics)
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._watcher: asyncio.Task[None] | None = None
        self._draining: set[asyncio.Task[None]] = set()
        self._started = False

    @property
    def ready(self) -> bool:
        """Whether the first load is done, and something serves (or the store is empty)."""
        return self._started and (bool(self._serving) or not (self._status or self.store_trouble))

    @property
    def store_trouble(self) -> str:
        """Why the last look at a remote store that is watched failed, or one model's folder has nothing; else ""."""
        nothing_serves = self._settings.control != "explicit" and not self._serving
        if nothing_serves and (trouble := self._store.trouble()):
            return trouble
        return self._sync.trouble if self._settings.control == "poll" else ""

    def names(self) -> list[str]:
        """List the models that are served."""
        return sorted(self._serving)

    def live(self) -> list[LiveModel]:
        """List what is served, by name and version."""
        return [
            served.versions[number] for _, served in sorted(self._serving.items()) for number in sorted(served.versions)
        ]

    def served(self) -> dict[str, Selection]:
        """Tell which versions of each model serve, what they are called, and by which policy they were chosen."""
        return {name: Selection(tuple(sorted(of.versions)), of.labels, of.policy) for name, of in self._serving.items()}

    def get(self, name: str, version: str | None = None, *, label: str | None = None) -> LiveModel:
        """Find the model that answers for this name: the newest version that serves, or the one that is named.

        Raises:
            UnknownModel: neither served nor known.
            UnknownVersion: the model is served, but not in that version.
            UnknownLabel: no version of it that serves has this label.
            NotReady: known, but it does not serve: loading, or refused; says why.
        """
        served = self._serving.get(name)
        if served is not None and label is None:
            if version is None:
                return served.newest
            for number, live in served.versions.items():
                if version == str(number):
                    return live
        self._raise_if_not_ready(name, version, but_for=served)
        if served is None:
            hint = "; control is explicit: load it first" if self._settings.control == "explicit" else ""
            raise UnknownModel(name, known=self._known_names(), hint=hint)
        if label is None:
            raise UnknownVersion(name, str(version), known=sorted(served.versions))
        if label not in served.labels:
            raise UnknownLabel(name, label, known=served.labels)
        return served.versions[served.labels[label]]

    def report(self, name: str, version: str | None = None) -> bytes:
        """Read the page about a version that serves; HTML. Blocks for as long as the disk does.

        Raises:
            NoReport: none was published with it or its group. Also what `get` raises.
        """
        live = self.get(name, version)
        page = self.report_of(live)
        if page is None:
            raise NoReport(live.name, live.version)
        try:
            return page.read_bytes()
        except OSError:
            raise NoReport(live.name, live.version) from None

    def report_of(self, live: LiveModel) -> Path | None:
        """Find the page about a version: its own, or else that of its group's main model. May read the disk."""
        if live.has_report:
            return self._store.stored(live.name, live.version).path / REPORT_FILE
        if not (isinstance(live.description, Manifest) and live.description.group):
            return None
        main = self._store.stored(live.group[0], live.version)
        try:
            published = main.manifest
        except StoreError:
            return None
        # A version that was deleted may have been published anew, alone.
        is_of_the_group = published.group == live.description.group
        return main.path / REPORT_FILE if is_of_the_group and REPORT_FILE in published.files else None

    def _raise_if_not_ready(self, name: str, version: str | None, *, but_for: Served | None) -> None:
        if but_for is not None and version is None:
            return
        for status in self._status.values():
            if status.name == name and version in (None, str(status.version)) and status.state != "READY":
                why = f": {status.reason}" if status.reason else ""
                raise NotReady(f"model {name!r} version {status.version} is {status.state}{why}")

    def _known_names(self) -> list[str]:
        return sorted({status.name for status in self._status.values()})

    def index(self) -> list[VersionStatus]:
        """List every version that was looked at, with its state and the reason for it."""
        return [self._status[key] for key in sorted(self._status)]

    def others(self) -> list[VersionStatus]:
        """List what else the store has, and why it does not serve. Reads the disk."""
        return [
            VersionStatus(name, number, "UNAVAILABLE", self._why_not(name, number))
            for name in self._store.models()
            for number in self._store.versions(name)
            if (name, number) not in self._status
        ]

    def _why_not(self, name: str, number: int) -> str:
        served = self._serving.get(name)
        if self._settings.control == "explicit" and served is None:
            return "not loaded"
        if absent := self._view.not_at_hand(name, number):
            return absent
        try:
            serving = self._store.serving(name)
        except StoreError:
            return "not chosen"
        if number in serving.withdrawn:
            return "withdrawn"
        return f"not chosen by the version policy {served.policy if served else serving.version_policy}"

    async def start(self, *, names: Iterable[str] | None = None) -> None:
        """Load what the control mode says (with `explicit`: these names, or else the settings'); with `poll`, watch."""
        if self._settings.control == "explicit":
            await self._load_named(self._settings.load if names is None else names)
        else:
            await self._load_all()
        self._started = True
        if self._settings.control == "poll":
            self._watcher = asyncio.create_task(self._watch())

    async def _load_all(self) -> None:
        await self._sync_store()
        if self._settings.control == "none":
            await self._raise_if_away()
        await self.refresh()

    async def _raise_if_away(self) -> None:
        """Raise `StoreError` if the store is away and nothing of it is in the cache: nobody will look again."""
        if self._sync.trouble and not await self._in_thread(self._store.models):
            raise StoreError(self._sync.trouble)

    async def stop(self) -> None:
        """Stop watching, and let go of the models."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        for model in self.live():
            model.close()
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def _load_named(self, names: Iterable[str]) -> None:
        names = tuple(names)
        await self._sync_store()
        if names:
            await self._raise_if_away()
        if "*" in names:
            await self.refresh()
            return
        for name in names:
            await self.check_in_store(name)
        await self.refresh(names)

    async def selection(self, name: str, policy: VersionPolicy | None = None) -> Selection:
        """Ask the store which versions of a model shall serve, whether they serve or not.

        Raises:
            UnknownModel: the store has no such model.
            ControlRefused: none of its versions may serve.
            StoreError: its serving.json or labels.json cannot be used.
        """
        await self._sync_store(max_age=0.0)
        await self.check_in_store(name)
        selected = await self._in_thread(lambda: self._store.select(name, policy=policy))
        if not selected.versions:
            raise ControlRefused(
                f"no version of model {name!r} may serve: {policy or 'serving.json'} names none that is there, "
                "with its whole group, and not withdrawn"
            )
        return selected

    async def load(self, name: str, wanted: Selection) -> None:
        """Serve exactly these versions of a model, also if one was refused before.

        Raises:
            ControlRefused: one cannot serve; what served before serves on.
        """
        missing = await self._in_thread(self._view.missing, name, wanted.versions)
        loaded: list[LiveModel] = []
        for stored in missing:
            self._set_loading(stored)
            try:
                loaded.append(await self._in_thread(self._load_one, stored))
            except ModelRefused as error:
                _close(loaded)
                for model in loaded:
                    if not self._serves_version(model):
                        self._drop_status(model.name, model.version)
                await self._refuse([stored], stored, str(error))
                raise ControlRefused(f"version {stored.version} of model {name!r} cannot serve: {error}") from None
        self._swap_in(loaded, {name: wanted})

    async def check_in_store(self, name: str) -> None:
        """Raise `UnknownModel` unless the store has this model."""
        known = await self._in_thread(self._store.models)
        if name not in known:
            raise UnknownModel(name, known=known)

    def unload(self, name: str) -> None:
        """Stop serving a model, if it is served; what it was given is finished."""
        self._replace({known: served for known, served in self._serving.items() if known != name})

    async def _watch(self) -> None:
        while True:
            interval = self._settings.seconds_between_looks
            await asyncio.sleep(self._sync.seconds_until_next(interval, serves=bool(self._serving)))
            try:
                await self._sync_store()
                await self.refresh()
            except Exception:  # a look that fails (a disk away for a moment) must not end the watching
                LOGGER.exception("looking at the store failed; what is loaded serves on")

    async def _sync_store(self, *, max_age: float | None = None) -> None:
        """Bring a remote store's mirror in line, unless another worker has just done so."""
        age = self._settings.seconds_between_looks / 2 if max_age is None else max_age
        await self._in_thread(partial(self._sync.refresh, max_age=age))

    async def refresh(self, names: Iterable[str] | None = None) -> None:
        """Bring what is served in line with the store: what is wanted in, what is not out."""
        look = await self._look(names)
        if look is None:
            LOGGER.warning("the store %s is not there; what is loaded serves on", self._store.root)
            return
        for batch in look.news:
            await self._bring_in(batch, look.wanted)
        self._swap_in([], look.wanted)
        self._tell_troubles(look.troubles)
        if self._settings.control != "explicit":
            self._forget(look)

    async def _look(self, names: Iterable[str] | None) -> Look | None:
        chosen = None if names is None else tuple(names)
        return await self._in_thread(partial(self._view.look, self._serving.keys(), chosen, at_start=not self._started))

    def _live(self, stored: StoredVersion) -> LiveModel | None:
        served = self._serving.get(stored.model)
        return served.versions.get(stored.version) if served else None

    async def _bring_in(self, batch: list[StoredVersion], wanted: Mapping[str, Selection]) -> None:
        """Load versions that belong together and swap them in; if one is refused, none is, and older ones are tried."""
        loaded: list[LiveModel] = []
        for stored in batch:
            self._set_loading(stored)
            try:
                loaded.append(await self._in_thread(self._load_one, stored))
            except ModelRefused as error:
                _close(loaded)
                await self._refuse(batch, stored, str(error))
                look = await self._look([stored.model for stored in batch])
                if look is not None:
                    for candidates in look.news:
                        await self._bring_in(candidates, look.wanted)
                return
        self._swap_in(loaded, {name: wanted[name] for name in {model.name for model in loaded}})

    def _load_one(self, stored: StoredVersion) -> LiveModel:
        try:
            self._store.fetch(stored)
            files = fingerprint(stored)
            serving = self._store.serving(stored.model).of_session
        except StoreError as error:
            raise ModelRefused(str(error)) from None
        model = self._load(stored, self._settings, self._metrics, serving=serving, processors=self._processors)
        self._view.loaded(stored, files)
        return model

    async def _refuse(self, batch: Iterable[StoredVersion], bad: StoredVersion, reason: str) -> None:
        for stored in batch:
            said = reason if stored is bad else f"{bad} of its group was refused: {reason}"
            await self._in_thread(self._view.refused, stored)
            # A version that was only to be run in another way runs on as it did.
            state: State = "UNAVAILABLE" if self._live(stored) is None else "READY"
            self._set_status(stored.model, stored.version, state, said)
            LOGGER.error("refused %s: %s", stored, said.removeprefix(f"{stored}: "))

    def _swap_in(self, loaded: Sequence[LiveModel], wanted: Mapping[str, Selection]) -> None:
        """Add versions, and turn their models to what is wanted: in one assignment, so that a group changes at once."""
        for model in loaded:
            self._view.accepted(model.name, model.version)
            self._set_status(model.name, model.version, "READY")
            self._metrics.versions.set_provider(
                model.name, model.version, model.provider, loaded=True, fell_back=model.obtained.fell_back
            )
            self._metrics.versions.set_cost(model.name, model.version, model.cost.points)
            LOGGER.info("ready: %s@%s on %s", model.name, model.version, model.provider)
        after = dict(self._serving)
        for name, selection in wanted.items():
            before = after.get(name)
            fresh = {model.version: model for model in loaded if model.name == name}
            if before is not None or fresh:
                after[name] = (before or Served({})).grown(fresh).turned_to(selection)
        self._replace(after)

    def _replace(self, after: Mapping[str, Served]) -> None:
        """Serve this from now on, and retire what was served and is not in it."""
        before, self._serving = self.live(), after
        staying = set(self.live())
        for model in before:
            if model not in staying:
                self._retire(model)

    def _retire(self, old: LiveModel) -> None:
        if not self._serves_version(old):
            self._set_status(old.name, old.version, "UNLOADING")
        task = asyncio.create_task(self._drain(old))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    def _serves_version(self, model: LiveModel) -> bool:
        """Tell whether this version serves, by this LiveModel or by another one."""
        served = self._serving.get(model.name)
        return served is not None and model.version in served.versions

    async def _drain(self, old: LiveModel) -> None:
        # One more turn at least: a request that has chosen this model may be about to submit to it.
        await asyncio.sleep(DRAIN_LOOK_SECONDS)
        while not old.batcher.idle:
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
        old.close()
        if not self._serves_version(old):
            self._metrics.versions.set_provider(old.name, old.version, old.provider, loaded=False)
            self._metrics.versions.set_cost(old.name, old.version, ())
            self._drop_status(old.name, old.version)
        LOGGER.info("unloaded: %s@%s", old.name, old.version)

    def _forget(self, look: Look) -> None:
        """Unload models that were removed from the store, and drop what is said of refused versions that are gone."""
        self._replace({name: served for name, served in self._serving.items() if name not in look.gone})
        for key in look.gone_refused:
            self._view.accepted(*key)
            if self._serving.get(key[0]) is None or key[1] not in self._serving[key[0]].versions:
                self._drop_status(*key)

    def _tell_troubles(self, troubles: Mapping[str, tuple[int, str]]) -> None:
        """Show what is wrong with a model's serving.json or labels.json: what serves of it serves on."""
        for name, (newest, reason) in troubles.items():
            if self._troubles.get(name) != (newest, reason):
                LOGGER.error("%s: %s", name, reason)
            if self._view.is_refused(name, newest) and name not in self._serving:
                continue
            numbers = self._serving[name].versions if name in self._serving else [newest]
            for number in numbers:
                self._set_status(name, number, "READY" if name in self._serving else "UNAVAILABLE", reason)
        for name in self._troubles.keys() - troubles.keys():
            for status in self.index():
                if status.name == name and status.state == "READY":
                    self._set_status(name, status.version, "READY")
                elif status.name == name and not self._view.is_refused(name, status.version):
                    self._drop_status(name, status.version)
        self._troubles = troubles

    def _set_loading(self, stored: StoredVersion) -> None:
        if self._live(stored) is None:
            self._set_status(stored.model, stored.version, "LOADING")

    def _set_status(self, name: str, version: int, state: State, reason: str = "") -> None:
        self._status = {**self._status, (name, version): VersionStatus(name, version, state, reason)}
        self._metrics.versions.set_state(name, version, state)

    def _drop_status(self, name: str, version: int) -> None:
        self._status = {key: status for key, status in self._status.items() if key != (name, version)}
        self._metrics.versions.set_state(name, version, None)

    async def _in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._loader, work, *arguments)


def _close(models: Iterable[LiveModel]) -> None:
    for model in models:
        model.close()
