"""What all that talks to a server shares: keys that show themselves to nobody, and which URLs may be talked to."""

from __future__ import annotations

import ipaddress
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from nnvalue.errors import InsecureHostError, InvalidInputError

PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that pass: worth another try after a while."""

_SHORTEST_KEY = 8


class ApiKey:
    """An API key that shows itself to nobody: not in a traceback's local variables, not where it is printed."""

    def __init__(self, text: str) -> None:
        self._text = text.strip()

    def __repr__(self) -> str:
        return "[API key]"

    def is_sound(self) -> bool:
        """Whether a header can carry it."""
        return bool(self._text) and all("!" <= letter <= "~" for letter in self._text)

    def cut_from(self, text: str) -> str:
        """The text without the key.

        One of fewer than 8 characters is a word that somebody gave to a server without keys ("none", "test"); it is
        no secret, and cutting it out would spoil texts.
        """
        return text if len(self._text) < _SHORTEST_KEY else text.replace(self._text, repr(self))

    def in_full(self) -> str:
        """The key itself, for the header of a request and for nothing else."""
        return self._text


def checked_host(url: str, allow_http: bool) -> str:
    """A URL that may be talked to. Raises InvalidInputError if it is none, InsecureHostError for unprotected http."""
    scheme: str | None
    name: str | None
    account: bool | None
    try:
        parts = urlsplit(url)
        scheme, name, account = parts.scheme, parts.hostname, parts.username is not None or parts.password is not None
        parts.port  # noqa: B018 - raises for what is none
    except ValueError:
        scheme = name = account = None
    if scheme not in ("http", "https") or not name or account:
        shown = re.sub(r"//[^/@]*@", "//…@", url)
        raise InvalidInputError(f"'{shown}' is no server's URL; give one like https://host or http://127.0.0.1:5001.")
    if scheme == "http" and not allow_http and not is_this_machine(url):
        raise InsecureHostError(
            f"http://{name} would send your API key and prompts unprotected; use https, or --allow-http "
            "(allow_http=True) in a network that you trust."
        )
    return url


def is_this_machine(url: str) -> bool:
    """Whether a URL leads to the machine that we are on."""
    name = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks us to wait, told in seconds or as a date (RFC 9110, 10.2.3); 0 if it does not."""
    told = headers.get("Retry-After", "0")
    try:
        wait = float(told)
    except ValueError:
        try:
            wait = parsedate_to_datetime(told).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(0.0, wait) if math.isfinite(wait) else 0.0
