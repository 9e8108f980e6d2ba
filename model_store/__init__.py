"""The contract between training and serving: what a published model is, and where it lies."""

from model_store.errors import (
    AllWithdrawn,
    CorruptVersion,
    IncompleteDraft,
    InvalidGolden,
    InvalidManifest,
    InvalidName,
    InvalidServing,
    ReadOnlyStore,
    StoreAway,
    StoreBusy,
    StoreError,
    UnknownModel,
    UnknownVersion,
    WrongStoreUrl,
)
from model_store.golden import Golden
from model_store.locate import STARTER_MODELS, choose_store
from model_store.manifest import Manifest
from model_store.one_model import OneModelStore
from model_store.opening import open_store
from model_store.serving import Serving
from model_store.store import Draft, Store, StoredVersion

__all__ = [
    "STARTER_MODELS",
    "AllWithdrawn",
    "CorruptVersion",
    "Draft",
    "Golden",
    "IncompleteDraft",
    "InvalidGolden",
    "InvalidManifest",
    "InvalidName",
    "InvalidServing",
    "Manifest",
    "OneModelStore",
    "ReadOnlyStore",
    "Serving",
    "Store",
    "StoreAway",
    "StoreBusy",
    "StoreError",
    "StoredVersion",
    "UnknownModel",
    "UnknownVersion",
    "WrongStoreUrl",
    "choose_store",
    "open_store",
]
