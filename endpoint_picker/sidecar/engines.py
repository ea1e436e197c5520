"""Connections to engines: kept open, one pool for all, TLS by stage."""

import enum
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
from yarl import URL

from endpoint_picker import bounded
from endpoint_picker.sidecar.headers import Headers
from endpoint_picker.sidecar.options import Options
from endpoint_picker.sidecar.targets import Target

CONNECT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 4.0
"""For which a connection is kept: engines close theirs after 5 s, and a request sent just then is lost."""
LARGEST_HEADER: Final = 1 << 20
"""Bytes of one header line."""


class Stage(enum.Enum):
    """What an engine does for a request; the value is its name in flags."""

    PREFILL = "prefiller"
    DECODE = "decoder"
    ENCODE = "encoder"


Unreachable = (aiohttp.ClientError, OSError, TimeoutError)
"""What `send` and the reading of an answer raise when the engine is at fault."""


class Engines:
    """Sends requests as they are given; nothing is added, unpacked, followed or remembered."""

    def __init__(self, options: Options) -> None:
        self._tls = frozenset(map(Stage, options.enable_tls))
        self._unverified = frozenset(map(Stage, options.tls_insecure_skip_verify))
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            auto_decompress=False,
            max_line_size=LARGEST_HEADER,
            max_field_size=LARGEST_HEADER,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        stage: Stage,
        target: Target,
        path: str,
        *,
        method: str = "POST",
        headers: Headers,
        data: Any = None,
    ) -> aiohttp.ClientResponse:
        """The head of the answer, whatever its status; `path` is written as it goes on the wire.

        Bytes are sent again, once, when a connection that was kept open turns out to be closed. Raises what
        `Unreachable` lists.
        """
        try:
            return await self._send(stage, target, path, method, headers, data)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not isinstance(data, bytes):
                raise
        return await self._send(stage, target, path, method, headers, data)

    async def fetch(self, target: Target, path: str, *, seconds: float, limit: int) -> bytes:
        """What stands at a path, without TLS. Raises what `Unreachable` lists, also for another status."""
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self._session.get(
            f"http://{target}{path}", timeout=timeout, allow_redirects=False
        ) as answer:
            if answer.status != 200:
                raise aiohttp.ClientPayloadError(f"status {answer.status}")
            return await bounded.whole(answer, limit)

    async def _send(
        self, stage: Stage, target: Target, path: str, method: str, headers: Headers, data: Any
    ) -> aiohttp.ClientResponse:
        assert self._session is not None
        return await self._session.request(
            method,
            self._url(stage, target, path),
            headers=headers,
            data=data,
            allow_redirects=False,
            ssl=stage not in self._unverified,
        )

    async def join(
        self,
        stage: Stage,
        target: Target,
        path: str,
        *,
        headers: Headers,
        protocols: Sequence[str],
        largest: int,
    ) -> aiohttp.ClientWebSocketResponse:
        """An open WebSocket. Raises what `Unreachable` lists."""
        assert self._session is not None
        return await self._session.ws_connect(
            self._url(stage, target, path),
            headers=headers,
            protocols=protocols,
            max_msg_size=largest,
            ssl=stage not in self._unverified,
        )

    def _url(self, stage: Stage, target: Target, path: str) -> URL:
        scheme = "https" if stage in self._tls else "http"
        return URL(f"{scheme}://{target}{path}", encoded=True)


def refused(error: BaseException) -> bool:
    """Whether nobody listens there."""
    if isinstance(error, aiohttp.ClientConnectorDNSError | aiohttp.ClientSSLError):
        return False
    return isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def told(error: BaseException) -> str:
    """What went wrong, in words."""
    return str(error) or type(error).__name__
