"""Keys stay hidden, only protected URLs are talked to, and a server's wish to wait is read in both its forms."""

import time
from email.utils import formatdate

import pytest

from nnvalue.errors import InsecureHostError, InvalidInputError
from nnvalue.network import ApiKey, checked_host, is_this_machine, retry_after


def test_a_wish_to_wait_is_read_as_seconds_or_as_a_date():
    assert retry_after({"Retry-After": "2.5"}) == 2.5
    assert retry_after({"Retry-After": formatdate(time.time() + 60, usegmt=True)}) == pytest.approx(60, abs=2)
    for nothing in ({}, {"Retry-After": "soon"}, {"Retry-After": "-3"}, {"Retry-After": "nan"},
                    {"Retry-After": f"Mon, 01 Jan 2024 00:00:00 +{'9' * 20}"},
                    {"Retry-After": formatdate(time.time() - 60, usegmt=True)}):  # fmt: skip
        assert retry_after(nothing) == 0


def test_a_key_shows_itself_only_where_it_is_asked_for():
    key = ApiKey(" sk-abc-4711-0815 \n")
    assert key.in_full() == "sk-abc-4711-0815"
    assert "abc" not in f"{key} {key!r} {[key]}"
    assert key.cut_from("it is sk-abc-4711-0815, you see") == "it is [API key], you see"
    assert ApiKey("test").cut_from("the latest protest") == "the latest protest"  # a word for a server without keys
    assert key.is_sound()
    assert not ApiKey("two words").is_sound()
    assert not ApiKey("").is_sound()


def test_which_urls_may_be_talked_to():
    for url in ("https://host/v1", "http://127.0.0.1:8000", "http://localhost/v1", "http://[::1]:80"):
        assert checked_host(url, allow_http=False) == url
    assert is_this_machine("http://127.8.8.8/")
    assert not is_this_machine("http://127.0.0.1.evil.example/")
    assert not is_this_machine("http://localhost.evil.example/")
    with pytest.raises(InsecureHostError):
        checked_host("http://10.0.0.1/v1", allow_http=False)
    assert checked_host("http://10.0.0.1/v1", allow_http=True)
    for bad in ("host", "ftp://host", "https://", "https://me:secret@host", "https://[::1", "http://127.0.0.1:abc/v1",
                "http://127.0.0.1:99999/v1"):  # fmt: skip
        with pytest.raises(InvalidInputError) as caught:
            checked_host(bad, allow_http=True)
        assert "secret" not in str(caught.value)
