"""Which server is loaded: its address, its models, and what every request carries."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from bench.load.texts import PATHS, Api
from endpoint_picker.bounded import whole

_ASK_SECONDS: Final = 10.0
_LARGEST: Final = 1 << 20
"""Bytes of a list of models."""


class Unfit(ValueError):
    """This server cannot be loaded so; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server, and how it is asked."""

    base: URL
    """Without the `/v1` of the API's paths."""
    api: Api = "completions"
    model: str = ""
    """Of requests that name no adapter."""
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every body."""

    @property
    def url(self) -> str:
        """Where requests go."""
        return under(self.base, PATHS[self.api])


def address(text: str) -> URL:
    """The base of an address, with or without `/v1` at its end. Raises Unfit."""
    try:
        url = URL(text)
    except ValueError as error:
        raise Unfit(f"{text} is no URL ({error}); give one like http://127.0.0.1:8081") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise Unfit(f"{text} is no URL of HTTP; give one like http://127.0.0.1:8081")
    if url.query_string or url.fragment:
        raise Unfit(f"{text} has more than a path; give the server's base, like http://127.0.0.1:8081")
    return url.with_path(url.path.rstrip("/").removesuffix("/v1").rstrip("/"))


def under(base: URL, path: str) -> str:
    return str(base.with_path(base.path.rstrip("/") + path))


def header(text: str) -> tuple[str, str]:
    """`Name: value`. Raises Unfit."""
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise Unfit(f"{text!r} is no header; give one like 'x-team: blue'")
    if any(ord(each) < 32 for each in value):
        raise Unfit(f"the value of the header {name} has a control character in it")
    return name, value


async def model_of(client: aiohttp.ClientSession, target: Target, adapters: Collection[str]) -> str:
    """The model to ask for, looked up where none was named. Raises Unfit where the server cannot be used.

    A server that is asked for a model by name need not list any.
    """
    listed = await _models(client, target)
    if isinstance(listed, Unfit):
        if target.model:
            return target.model
        raise listed
    missing = sorted({*adapters, target.model} - {"", *listed})
    if missing:
        raise Unfit(
            f"the server has no model {', '.join(missing)}; it lists {', '.join(listed)}. "
            "Serve what is missing, or choose another --workload or --model"
        )
    return target.model or listed[0]


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def _models(client: aiohttp.ClientSession, target: Target) -> list[str] | Unfit:
    """Names of the models, or why there are none. Raises Unfit when nobody answers."""
    url = under(target.base, "/v1/models")
    try:
        timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
        async with client.get(url, headers=target.headers, timeout=timeout) as response:
            status, raw = response.status, await whole(response, _LARGEST)
    except TimeoutError as error:
        raise Unfit(f"{url} has not answered within {_ASK_SECONDS:g} s; is that the right server?") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unfit(f"{url} cannot be reached: {error}") from error
    if status != 200:
        words = " ".join(raw[:100].decode(errors="replace").split())
        return Unfit(f"{url} answers HTTP {status} ({words}); name the model with --model if it is served")
    try:
        names = [each.id for each in msgspec.json.decode(raw, type=_Models).data]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Unfit(f"{url} lists no models as OpenAI's API does ({error}); is that the right server?")
    return names or Unfit(f"{url} lists no model; name one with --model")
