from __future__ import annotations

import base64
import sys
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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
        pytest.param("https://me:hun'ter 2[@host/m", "https://host/m", id="https-with-an-odd-password"),
        pytest.param("https://hunter2@host/m", "https://host/m", id="https-with-a-token"),
        pytest.param("S3://bucket/m", "s3://bucket/m", id="upper-case"),
        pytest.param("s3://arn:aws:s3:eu-west-1:1:accesspoint/box/m", "s3://arn:aws:s3:eu-west-1:1:accesspoint/box/m",
                     id="s3-access-point"),
        pytest.param("file:///mnt/models@home", "file:///mnt/models@home", id="file"),
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
        pytest.param("s3://AKIA:ab/hunter2@bucket/m", "credentials do not belong into the URL", id="slash-in-a-secret"),
        pytest.param("s3://AKIA:ab'hunter2@bucket/m", "credentials do not belong into the URL", id="quote-in-a-secret"),
        pytest.param("s3://hunter2@bucket/m", "credentials do not belong into the URL", id="token"),
        pytest.param("gs://user:hunter2/m", "credentials do not belong into the URL", id="colon-without-at"),
        pytest.param("az://user:hunter2@box/m", "credentials do not belong into the URL", id="azure"),
        pytest.param("hf://hunter2@me/models", "credentials do not belong into the URL", id="hub"),
        pytest.param("http://me:pa/hunter2@host/m", "/, [?] and # are written %2F", id="slash-in-a-password"),
        pytest.param("http://me:hunter2/m", "its host or port cannot be read", id="port"),
        pytest.param("https://[bad/m", "its host or port cannot be read; expected https://HOST:PORT/FOLDER", id="host"),
        pytest.param("nfs://me:hunter2@host/m", "expected a folder, or a URL with one of s3", id="scheme"),
        pytest.param("s3:///m", "expected s3://NAME/FOLDER", id="no-bucket"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused_without_naming_secrets(url: str, message: str) -> None:
    with pytest.raises(WrongStoreUrl, match=message) as wrong:
        Address.parse(url)

    assert "hunter2" not in str(wrong.value)


# "Z" marks it: no word of a message has one, so a part of it that is shown is found.
ODD = st.text("ab/@:'\"? #[]%\\\t", max_size=12).map(lambda odd: f"Z{odd}Z")
PLACES = st.sampled_from(["bucket/m", "host:80/m/n"])


@given(st.sampled_from(["s3", "s3a", "S3", "gs", "gcs", "http", "https", "nfs"]), ODD, ODD, PLACES)
@example("s3", "ZZ", "Zab/cdZ", "bucket/m")
def test_no_odd_secret_is_shown(scheme: str, user: str, secret: str, place: str) -> None:
    url = f"{scheme}://{user}:{secret}@{place}"
    try:
        told = str(Address.parse(url)) + repr(Address.parse(url))
    except WrongStoreUrl as wrong:
        told = str(wrong)

    assert "Z" not in told
    assert "Z" not in without_secrets(f"cannot reach {url} now")


@given(ODD)
def test_a_web_stores_own_secret_is_hidden_however_a_message_has_it(secret: str) -> None:
    address = Address("https", "https://host/m", ("me", secret))
    pair = base64.b64encode(f"me:{secret}".encode()).decode()
    said = [secret, repr(secret), quote(secret), quote(secret, safe=""), f"Basic {pair}", pair]

    told = [address.without_secrets(f"some message: {text} was sent") for text in said]

    assert not any("Z" in line or pair in line for line in told)
    assert all(line.startswith("some message: ") for line in told), "a user's name is no secret"


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


def test_a_header_that_a_server_repeats_in_part_is_hidden_and_plain_words_are_not() -> None:
    said = "Basic authentication is required, Authorization: Basic bWU6aHVudGVyMg was not it, 'Internal Server Error'"

    told = Address.parse("https://me:hunter2@host/m").without_secrets(said)

    assert told == said.replace("bWU6aHVudGVyMg", "…")


def test_a_folder_is_opened_as_ever_and_a_url_never_as_a_folder() -> None:
    assert type(open_store("store")) is Store
    with pytest.raises(StoreError, match="open_store"):
        Store("s3://bucket")
