"""Opens a store by its place: a folder of this machine, or the URL of a remote one."""

from __future__ import annotations

from pathlib import Path

from model_store.remote.address import is_url
from model_store.store import Store


def open_store(location: str | Path, *, cache: str | Path = "") -> Store:
    """Open the store in a folder or behind a URL (`s3://bucket/models`, `gs://…`, `az://…`, `https://…`, `hf://…`).

    A remote one reads as it was mirrored last: `refresh` looks at it anew, `fetch` brings a version's files.

    Args:
        location: the folder or the URL.
        cache: the folder in which remote stores are cached; by default ("") OVENBIRD_CACHE, or one in the user's cache.

    Raises:
        WrongStoreUrl: the URL names no store, or its package is not installed.
        StoreError: the cache cannot be written.
    """
    if not is_url(location):
        return Store(location)
    from model_store.remote.store import RemoteStore

    return RemoteStore(str(location), cache=Path(cache) if cache else None)
