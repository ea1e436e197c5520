"""Gets one page from one replica, within bounds of time and size.

A replica that hangs, drips, redirects, never ends or answers with a compressed bomb costs one deadline and
one bounded buffer, and its connection is closed, so that nothing of it reaches the next try.
"""

import ssl
from typing import Final

import aiohttp
from aiohttp import http
from yarl import URL

DEADLINE: Final = 1.0
"""Seconds for connecting, asking and reading together."""
LARGEST: Final = 8 << 20
"""Bytes of a page: a real one has 60 KB."""

_HEADERS: Final = {"Accept": "text/plain; version=0.0.4", "Accept-Encoding": "identity"}
"""Uncompressed: a page comes from the next rack, and unpacking costs more CPU than it saves."""


class FetchError(Exception):
    """A page could not be had; the text says why."""


class Pages:
    """Fetches pages over connections that are kept; to be made inside a running event loop."""

    def __init__(self, *, deadline: float = DEADLINE, largest: int = LARGEST) -> None:
        self._largest = largest
        self._deadline = deadline
        self._session = aiohttp.ClientSession(
            # No limit: each endpoint has one request at a time, and a limit would let those that hang
            # hold the places of the others.
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=deadline),
            headers=_HEADERS,
            auto_decompress=False,
            skip_auto_headers=("User-Agent",),
        )

    async def get(self, url: URL, tls: ssl.SSLContext | None = None) -> bytes:
        """The whole page. Raises FetchError."""
        try:
            async with self._session.get(url, allow_redirects=False, ssl=tls or True) as response:
                try:
                    return await self._read(response)
                except FetchError:
                    response.close()
                    raise
        except TimeoutError as error:
            raise FetchError(f"no complete answer within {self._deadline:g} s") from error
        except (aiohttp.ClientError, http.HttpProcessingError, OSError, ValueError) as error:
            raise FetchError(" ".join(str(error).split())[:200] or type(error).__name__) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if response.status != 200:
            raise FetchError(f"it answered with status {response.status}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise FetchError(f"it answered compressed ({encoding[:20]}) though it was asked not to")
        if (response.content_length or 0) > self._largest:
            raise FetchError(self._too_large())
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._largest:
                raise FetchError(self._too_large())
        return b"".join(chunks)

    def _too_large(self) -> str:
        return f"its page is larger than {self._largest >> 20} MiB"
