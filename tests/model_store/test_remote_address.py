from __future__ import annotations

import sys

import pytest

from model_store import Store, StoreError, WrongStoreUrl, open_store
from model_store.remote.address import Address, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param("s3://bucket/models/", "s3://bucket/models", id="s3"),
        pytest.param("gs://bucket", "gs://bucket", id="gs"),
        pytest.param("abfs://box@account.dfs.core.windows.net/m", "abfs://box@account.dfs.core.windows.net/m",
                     id="abfs-names-its-container-before-the-at"),
        pytest.param("https://me:hunter2@host:8443/m", "https://host:8443/m", id="https-with-a-password"),
        pytest.param("hf://me/models@v1", "hf://me/models@v1", id="hf-with-a-revision"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_what_is_secret(url: str, shown: str) -> None:
    address = Address.parse(url)

    assert str(address) == shown
    assert "hunter2" not in repr(address)


def test_user_and_password_of_a_web_server_are_kept_apart() -> None:
    assert Address.parse("https://me:p%40ss@host/m").credentials == ("me", "p@ss")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("s3://AKIA:hunter2@bucket/m", "credentials do not belong into the URL", id="password"),
        pytest.param("https://host/m?sig=hunter2", "has no [?]", id="query"),
        pytest.param("s3://bucket/m#hunter2", "has no [?] and no #", id="fragment"),
        pytest.param("nfs://me:hunter2@host/m", "expected a folder, or a URL with one of s3", id="scheme"),
        pytest.param("s3:///m", "expected s3://NAME/FOLDER", id="no-bucket"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused_without_naming_secrets(url: str, message: str) -> None:
    with pytest.raises(WrongStoreUrl, match=message) as wrong:
        Address.parse(url)

    assert "hunter2" not in str(wrong.value).replace("#hunter2", "")


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)

    with pytest.raises(WrongStoreUrl, match=r"needs the Python package 'gcsfs': pip install 'ovenbird\[gcs\]'"):
        open_store("gs://bucket/models")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no https://me:hunter2@host/a?sig=hunter2 today", "no https://host/a today"),
        ('Cannot connect: "https://host/a?X-Amz-Signature=hunter2"', 'Cannot connect: "https://host/a"'),
        ("two s3://a:hunter2@b, http://c/d?e=hunter2&f", "two s3://b, http://c/d"),
        ("why? me@example.org asks", "why? me@example.org asks"),
    ],
)
def test_secrets_are_stripped_from_any_text(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_a_folder_is_opened_as_ever_and_a_url_never_as_a_folder() -> None:
    assert type(open_store("store")) is Store
    with pytest.raises(StoreError, match="open_store"):
        Store("s3://bucket")
