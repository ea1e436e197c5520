"""Requests as the tests ask them, and the answers: of either API, streamed or not, in one shape."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import aiohttp

from tests.fakes.simulated import events
from tests.real.engines import MODEL

Api = Literal["completions", "chat"]
PATHS: Final[dict[Api, str]] = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
ANSWER_TOKENS: Final = 12


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request."""

    status: int
    texts: tuple[str, ...]
    """Of each choice."""
    prompt_tokens: int
    cached_tokens: int
    raw: str
    """As it came, for a message that helps."""

    @property
    def text(self) -> str:
        (only,) = self.texts
        return only


def body(api: Api, text: str | list[str], *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    """A request whose answer is the same each time it is computed."""
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": ANSWER_TOKENS, "temperature": 0, "seed": 1}
    if api == "chat":
        asked["messages"] = [{"role": "user", "content": text}]
    else:
        asked["prompt"] = text
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return asked | fields


async def ask(client: aiohttp.ClientSession, url: str, api: Api, asked: dict[str, Any]) -> Answer:
    """POST to a replica or a gateway, and read the whole answer."""
    async with client.post(url + PATHS[api], json=asked) as response:
        raw = await response.text()
        streamed = response.content_type == "text/event-stream"
        parts = [part for part in events(raw) if part != "[DONE]"] if streamed else [await response.json()]
        return Answer(response.status, _texts(parts), *_tokens(parts), raw)


def _texts(parts: Iterable[Any]) -> tuple[str, ...]:
    texts: dict[int, str] = {}
    for choice in (choice for part in parts for choice in part.get("choices", ())):
        said = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
        texts[choice["index"]] = texts.get(choice["index"], "") + (said.get("content") or "")
    return tuple(texts[index] for index in sorted(texts))


def _tokens(parts: Iterable[Any]) -> tuple[int, int]:
    """Of the prompt, and those of them that were cached."""
    usage = next((part["usage"] for part in parts if part.get("usage")), None)
    if usage is None:
        return 0, 0
    return usage["prompt_tokens"], (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
