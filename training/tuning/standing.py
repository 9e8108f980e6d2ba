"""Whether the store has a version already that is at least as good as what a search has found. Publishes nothing."""

from __future__ import annotations

from model_store import Draft, Store, StoredVersion, StoreError
from model_store.metrics import is_as_good
from model_store.predictions import PREDICTIONS_FILE, Predictions


def as_good_already(store: Store, draft: Draft) -> StoredVersion | None:
    """Find the newest version that was not withdrawn, if it is at least as good on the same held-out rows.

    Compared is what the draft's manifest has as its first metric. What cannot be read or compared holds nothing back.
    """
    metric, value = next(iter(draft.manifest.metrics.items()))
    try:
        newest = store.newest(draft.model)
        known = None if newest.is_bare else newest.manifest.metrics.get(metric)
        is_good = known is not None and is_as_good(metric, known, value) and _have_same_rows(store, newest, draft)
    except StoreError:
        return None
    return newest if is_good else None


def _have_same_rows(store: Store, newest: StoredVersion, draft: Draft) -> bool:
    """Compare the held-out rows by their digest, or, where one noted none, the data sets by theirs."""
    manifests = newest.manifest, draft.manifest
    if any(PREDICTIONS_FILE not in manifest.files for manifest in manifests):
        return manifests[0].dataset.sha256 == manifests[1].dataset.sha256
    store.fetch(newest)
    one, other = (Predictions.read(folder / PREDICTIONS_FILE) for folder in (newest.path, draft.folder))
    return one.rows == other.rows
