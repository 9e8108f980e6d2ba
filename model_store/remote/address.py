"""The URL of a store: what it names, what must be installed for it, and how it is shown without its secrets."""

from __future__ import annotations

import base64
import html
import importlib.util
import json
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, quote_plus, unquote, urlsplit

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

# Where an "@" may name a container, a revision or a file.
_MAY_HOLD_AT = ("az", "abfs", "abfss", "hf", *_BUILT_IN)

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_QUERY_IN_URL = re.compile(r"(://[^\s'\"?]*)\?[^\s'\"]*")
# What may stand before such an "@".
_PLAIN = re.compile(r"[A-Za-z0-9$._/@-]*")
_ACCESS_POINT = re.compile(r"arn:aws[a-z-]*:s3[a-z-]*:")
# A header that a server repeats, maybe in part: no plain word, such as in "Basic authentication".
_BASIC = re.compile(r"\b([Bb]asic) +[\w+/-](?=[\w+/-]*[A-Z0-9=+/])[\w+/=-]+")


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
        scheme, _, rest = text.partition("://")
        scheme = scheme.lower()
        if scheme not in (*_NEEDS, *_BUILT_IN):
            raise WrongStoreUrl(f"no store has such a URL: expected a folder, or a URL with one of {', '.join(_NEEDS)}")
        credentials, rest = _credentials_of(scheme, rest) if scheme in _WEB else (None, rest)
        # From here on nothing is shown but the scheme: what is wrong may be a part of a secret.
        _check_rest(scheme, rest)
        return cls(scheme, f"{scheme}://{rest}".rstrip("/"), credentials)

    def without_secrets(self, text: str) -> str:
        """Strip this store's own secrets from a text, however they are written there, and those in any URL."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "…")
        return without_secrets(_BASIC.sub(r"\1 …", text))

    def _secrets(self) -> set[str]:
        """List what must not be shown: the password; a user without one is a token. A user's name is no secret."""
        if self.credentials is None:
            return set()
        user, password = self.credentials
        secret = password or user
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        written = (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], html.escape(secret))
        return {*written, quote(secret), quote(secret, safe=""), quote_plus(secret), pair} - {""}

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
    """Strip user, password and query from every URL in a text: what remains may be shown and logged.

    A password may hold anything, spaces, quotes and slashes among it. So all goes from the first URL that may hold one
    up to the last "@" of the text, which may be more than is secret.
    """
    at = text.rfind("@")
    for url in _URL.finditer(text):
        held = text[url.end() : at]
        if url.end() <= at and not (url[1].lower() in _MAY_HOLD_AT and _names_no_user(url[1].lower(), held)):
            text = text[: url.end()] + text[at + 1 :]
            break
    return _QUERY_IN_URL.sub(r"\1", text)


def _credentials_of(scheme: str, rest: str) -> tuple[tuple[str, str] | None, str]:
    """Part a web server's user and password from the rest of its URL."""
    userinfo, at, place = rest.rpartition("@")
    if not {*userinfo}.isdisjoint("/?#"):
        raise WrongStoreUrl(
            f"store '{scheme}://…': in a user or a password /, ? and # are written %2F, %3F and %23, @ in a path %40"
        )
    user, _, password = userinfo.partition(":")
    return (unquote(user), unquote(password)) if at else None, place


def _check_rest(scheme: str, rest: str) -> None:
    """Raise `WrongStoreUrl` for what cannot be the place of a store."""
    place = f"store '{scheme}://…'"
    if _holds_credentials(scheme, rest):
        raise WrongStoreUrl(
            f"{place}: credentials do not belong into the URL; they come from the environment, such as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not {*rest}.isdisjoint("?#"):
        raise WrongStoreUrl(f"{place}: a store's URL has no ? and no #; options are variables such as AWS_ENDPOINT_URL")
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        _ = parts.port if scheme in _WEB else None
    except ValueError:
        raise WrongStoreUrl(f"{place}: its host or port cannot be read; expected {scheme}://HOST:PORT/FOLDER") from None
    if not parts.netloc and scheme not in _BUILT_IN:
        raise WrongStoreUrl(f"{place}: expected {scheme}://NAME/FOLDER")


def _holds_credentials(scheme: str, rest: str) -> bool:
    if scheme in _WEB:
        return False
    if scheme in _MAY_HOLD_AT:
        return "@" in rest and not _names_no_user(scheme, rest.rpartition("@")[0])
    return "@" in rest or (":" in rest.partition("/")[0] and not _ACCESS_POINT.match(rest))


def _names_no_user(scheme: str, before_at: str) -> bool:
    """Tell whether what stands before an "@" is a container, a repository or a path."""
    if scheme in _BUILT_IN:
        return "/" in before_at.partition("@")[0]
    has_owner = scheme != "hf" or "/" in before_at.partition("@")[0]
    return has_owner and _PLAIN.fullmatch(before_at) is not None
