"""The URL of a store: what it names, what must be installed for it, and how it is shown without its secrets."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from model_store.errors import WrongStoreUrl

# scheme → the module that fsspec needs for it, and the extra that brings it.
_NEEDS = {
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "az": ("adlfs", "azure"),
    "abfs": ("adlfs", "azure"),
    "abfss": ("adlfs", "azure"),
    "http": ("aiohttp", "http"),
    "https": ("aiohttp", "http"),
    "hf": ("huggingface_hub", "hf"),
}
# fsspec's own: a mounted share, and for tests.
_BUILT_IN = ("file", "local", "memory")
_WEB = ("http", "https")
# A page can only be read; on the hub each file would be a commit of its own.
_READ_ONLY = ("http", "https", "hf")

_USER_IN_URL = re.compile(r"(?<=://)[^/\s'\"]*@")
_QUERY_IN_URL = re.compile(r"(://[^\s'\"?]*)\?[^\s'\"]*")


@dataclass(frozen=True)
class Address:
    """Where a remote store lies. `url` is safe to show; the credentials of a web server are kept apart."""

    scheme: str
    url: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.url

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a store's URL.

        Raises:
            WrongStoreUrl: it is no URL of a store, or it carries secrets that belong elsewhere; names none of them.
        """
        parts = urlsplit(text)
        shown = without_secrets(text)
        if parts.scheme not in (*_NEEDS, *_BUILT_IN):
            raise WrongStoreUrl(f"store {shown!r}: expected a folder, or a URL with one of {', '.join(_NEEDS)}")
        if parts.query or parts.fragment:
            raise WrongStoreUrl(
                f"store {shown!r}: a store's URL has no ? and no #; options are variables such as AWS_ENDPOINT_URL"
            )
        if not parts.netloc and parts.scheme not in _BUILT_IN:
            raise WrongStoreUrl(f"store {shown!r}: expected {parts.scheme}://NAME/FOLDER")
        credentials = None
        if parts.scheme in _WEB and parts.username is not None:
            credentials = (unquote(parts.username), unquote(parts.password or ""))
        elif parts.password is not None:
            raise WrongStoreUrl(
                f"store {shown!r}: credentials do not belong into the URL; they come from the environment, such as "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return cls(parts.scheme, (shown if credentials else text).rstrip("/"), credentials)

    @property
    def may_be_written(self) -> bool:
        """Whether models can be published there."""
        return self.scheme not in _READ_ONLY

    def check_installed(self) -> None:
        """Raise `WrongStoreUrl` if the package that reaches the store is absent; says which extra brings it."""
        module, extra = _NEEDS.get(self.scheme, ("fsspec", "s3"))
        missing = [name for name in ("fsspec", module) if importlib.util.find_spec(name) is None]
        if missing:
            raise WrongStoreUrl(
                f"store {str(self)!r} needs the Python package {missing[0]!r}: pip install 'ovenbird[{extra}]', "
                f"or '.[{extra}]' from a clone"
            )


def is_url(location: object) -> bool:
    """Tell a URL from a folder."""
    return "://" in str(location)


def without_secrets(text: str) -> str:
    """Strip user, password and query from every URL in a text: what remains may be shown and logged."""
    return _QUERY_IN_URL.sub(r"\1", _USER_IN_URL.sub("", text))
