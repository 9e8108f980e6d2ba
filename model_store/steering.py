"""Changes to how a published model is served: labels, version policy, rollback.

Each takes the lock of the store and replaces whole files, so that a service that watches sees the state before or
after. Versions themselves are never touched.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from model_store.errors import StoreError, UnknownModel
from model_store.serving import LABELS_FILE, SERVING_FILE, Serving, Specific, VersionPolicy, labels_to_json
from model_store.store import Store, StoredVersion


@dataclass(frozen=True)
class Rollback:
    """What a rollback has done: the version that now serves, and per model the versions that it took out of service."""

    version: int
    withdrawn: dict[str, tuple[int, ...]]
    moved_labels: tuple[str, ...]


def set_label(store: Store, model: str, label: str, version: int) -> None:
    """Give a version a name, or move the name to it.

    Raises:
        UnknownModel, UnknownVersion: the store has no such version.
        StoreError: the version is withdrawn, or the label cannot be one.
    """
    with store.changing():
        stored = store.resolve(model, version)
        if version in store.serving(model).withdrawn:
            raise StoreError(f"{stored} is withdrawn; `ovenbird store rollback {model} --to {version}` brings it back")
        _write_labels(store, model, {**store.labels(model), label: version})


def remove_label(store: Store, model: str, label: str) -> None:
    """Take a name away; raises StoreError if the model has no such label."""
    with store.changing():
        labels = store.labels(model)
        if label not in labels:
            raise StoreError(f"model {model!r} has no label {label!r}; it has: {', '.join(sorted(labels)) or 'none'}")
        _write_labels(store, model, {name: version for name, version in labels.items() if name != label})


def set_policy(store: Store, model: str, policy: VersionPolicy) -> None:
    """Say which versions are served.

    Raises:
        UnknownModel, UnknownVersion: the store has no such model, or not the version that the policy names.
    """
    with store.changing():
        if model not in store.models():
            raise UnknownModel(model, known=store.models())
        for version in policy.specific.versions if policy.specific else ():
            store.resolve(model, version)
        _write_serving(store, model, store.serving(model).model_copy(update={"version_policy": policy}))


def roll_back(store: Store, model: str, to: int | None = None) -> Rollback:
    """Serve an earlier version again: withdraw every newer one, in all models of its group, and move their labels.

    A version that is published later is served as ever. A version that was withdrawn comes back when it is named.

    Args:
        store: where the model lies.
        model: its name.
        to: the version to serve; by default the one before the newest that serves.

    Raises:
        UnknownModel, UnknownVersion: the store has no such model or version.
        StoreError: there is no earlier version.
    """
    with store.changing():
        target = store.resolve(model, to) if to is not None else _version_before(store, model)
        withdrawn: dict[str, set[int]] = defaultdict(set)
        already = store.serving(model).withdrawn
        for number in store.versions(model):
            if number > target.version and number not in already:
                for member in store.group_of(store.resolve(model, number)):
                    withdrawn[member].add(number)
        together = store.group_of(target)
        moved: set[str] = set()
        for member in sorted({*withdrawn, *together} & {*store.models()}):
            back = target.version if member in together else None
            if back is not None:
                # Labels first: each keeps leading to a version that serves.
                moved |= _move_labels(store, member, withdrawn[member], back)
            _write_serving(store, member, _withdrawing(store.serving(member), withdrawn[member], back))
        done = {member: tuple(sorted(numbers)) for member, numbers in sorted(withdrawn.items()) if numbers}
        return Rollback(target.version, done, tuple(sorted(moved)))


def _version_before(store: Store, model: str) -> StoredVersion:
    newest = store.resolve(model)
    serving = store.serving(model)
    usable = [
        number
        for number in store.versions(model)
        if number not in serving.withdrawn and store.may_serve_with_its_group(store.resolve(model, number))
    ]
    chosen = serving.version_policy.select(usable, lambda _: True)
    current = chosen[-1] if chosen else newest.version
    earlier = [number for number in usable if number < current]
    if not earlier:
        raise StoreError(f"model {model!r} has no version before {current} that could serve")
    return store.resolve(model, earlier[-1])


def _withdrawing(serving: Serving, withdrawn: set[int], back: int | None) -> Serving:
    """Withdraw versions, and bring one back; a policy of specific versions has that one in their place."""
    gone = {*serving.withdrawn, *withdrawn} - {back}
    policy = serving.version_policy
    if policy.specific is not None and back is not None and back not in policy.specific.versions:
        kept = {number for number in policy.specific.versions if number not in gone}
        policy = VersionPolicy(specific=Specific(versions=tuple(sorted({*kept, back}))))
    return serving.model_copy(update={"withdrawn": tuple(sorted(gone)), "version_policy": policy})


def _move_labels(store: Store, model: str, withdrawn: set[int], target: int) -> set[str]:
    labels = store.labels(model)
    moved = {label for label, version in labels.items() if version in withdrawn}
    if moved:
        _write_labels(store, model, {**labels, **dict.fromkeys(moved, target)})
    return moved


def _write_labels(store: Store, model: str, labels: dict[str, int]) -> None:
    store.replace_file(model, LABELS_FILE, labels_to_json(labels))


def _write_serving(store: Store, model: str, serving: Serving) -> None:
    store.replace_file(model, SERVING_FILE, serving.to_json())
