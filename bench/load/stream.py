"""One request to a server with OpenAI's API, and what its stream brings, when."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from time import perf_counter
from typing import Any, Final

import aiohttp
import msgspec

from endpoint_picker.core.request import Usage
from endpoint_picker.parsing import usage
from endpoint_picker.parsing.sse import Events

_DONE: Final = b"[DONE]"
_EVENTS: Final = "text/event-stream"
_TOLD: Final = 160
"""Characters of a server's own words that are kept."""
_READ: Final = 4096
"""Bytes of an error that are read."""


class Kind(StrEnum):
    """What went wrong with a request."""

    CONNECTION = "no connection"
    STATUS = "HTTP status"
    TIMEOUT = "time-out"
    BROKEN = "stream broken off"
    STREAM = "error in the stream"
    FOREIGN = "no OpenAI stream"
    UNSENT = "not sent"
    """Too many were waiting."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why there is no whole answer."""

    kind: Kind
    told: str
    """In words, some of them the server's."""


@dataclass(slots=True)
class Answer:
    """What came back; times by `perf_counter`, NaN where there is none."""

    sent: float
    first: float = math.nan
    """When the first token came."""
    last: float = math.nan
    ended: float = math.nan
    status: int = 0
    """Of HTTP; 0: there was none."""
    gaps: list[float] = field(default_factory=list)
    """Seconds between events with text. What came in one read came at the same time."""
    text: str = ""
    usage: Usage = field(default_factory=Usage)
    flaw: Flaw | None = None

    @property
    def tokens(self) -> int:
        """As the server counts; where it does not, an event with text counts as one."""
        told = self.usage.completion_tokens
        return told if told is not None else len(self.gaps) + (not math.isnan(self.first))


async def ask(
    client: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str] | None = None
) -> Answer:
    """Send a body that asks for a stream, and read it to its end. What goes wrong is part of the answer."""
    answer = Answer(perf_counter())
    try:
        async with client.post(url, data=body, headers=headers, allow_redirects=False) as response:
            answer.status = response.status
            answer.flaw = await _refusal(response) or await _read(response, answer)
    except TimeoutError:
        answer.flaw = Flaw(Kind.TIMEOUT, "no whole answer within the time limit")
    except aiohttp.ClientConnectorError as error:
        answer.flaw = Flaw(Kind.CONNECTION, _short(str(error)))
    except (aiohttp.ClientError, OSError) as error:
        answer.flaw = Flaw(Kind.BROKEN, _short(f"{type(error).__name__}: {error}"))
    answer.ended = perf_counter()
    return answer


async def _refusal(response: aiohttp.ClientResponse) -> Flaw | None:
    """What is wrong before anything has been streamed."""
    if response.status != 200:
        words = _message(await response.content.read(_READ)) or response.reason or ""
        return Flaw(Kind.STATUS, _short(f"HTTP {response.status}: {words}"))
    if response.content_type != _EVENTS:
        return Flaw(Kind.FOREIGN, _short(f"an answer of type {response.content_type} instead of {_EVENTS}"))
    return None


async def _read(response: aiohttp.ClientResponse, answer: Answer) -> Flaw | None:
    reading = Reading(answer)
    async for chunk in response.content.iter_any():
        reading.feed(chunk, perf_counter())
        if reading.flaw:
            return reading.flaw
    return reading.end()


def _message(raw: bytes) -> str:
    """OpenAI's words for an error, or the body as it is."""
    try:
        return _ERROR.decode(raw).error.message
    except msgspec.MsgspecError:
        return raw.decode(errors="replace")


def _short(words: str) -> str:
    line = " ".join(words.split())
    return line if len(line) <= _TOLD else f"{line[: _TOLD - 1]}…"


# === the stream ===


class _Words(msgspec.Struct):
    message: str = ""


class _Error(msgspec.Struct):
    error: _Words


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    """The older name."""
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: Any = None


_CHUNK: Final = msgspec.json.Decoder(_Chunk)
_ERROR: Final = msgspec.json.Decoder(_Error)
_NOTHING: Final = _Delta()


class Reading:
    """The events of one stream, wherever its chunks begin and end."""

    def __init__(self, answer: Answer) -> None:
        self.flaw: Flaw | None = None
        self._answer = answer
        self._words: list[str] = []
        self._events = Events(b"", self._take)
        self._now = 0.0
        self._done = False

    def feed(self, chunk: bytes, now: float) -> None:
        """The next bytes, which came `now`."""
        self._now = now
        self._events.feed(chunk)

    def end(self) -> Flaw | None:
        """The connection has nothing more; answers what is wrong with the whole."""
        self._events.end()
        self._answer.text = "".join(self._words)
        if self.flaw is None and not self._done:
            self.flaw = Flaw(Kind.BROKEN, "the stream ended without [DONE]")
        return self.flaw

    def _take(self, data: bytes) -> bool:
        """The data of one event. An event of several lines would be taken for several: nobody sends those."""
        if data.strip() == _DONE:
            self._done = True
        elif data and self.flaw is None:
            self._read(data)
        return True

    def _read(self, data: bytes) -> None:
        try:
            chunk = _CHUNK.decode(data)
            if b'"usage"' in data:
                self._answer.usage = usage.merged(self._answer.usage, usage.openai(data))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.flaw = Flaw(
                Kind.FOREIGN, _short(f"an event that is none of OpenAI's ({error}): {data[:60]!r}")
            )
            return
        if chunk.error is not None:
            self.flaw = Flaw(Kind.STREAM, _short(_message(data)))
        elif chunk.choices is None:
            self.flaw = Flaw(Kind.FOREIGN, _short(f"an event without choices: {data[:60]!r}"))
        else:
            for choice in chunk.choices:
                self._add(choice)

    def _add(self, choice: _Choice) -> None:
        delta = choice.delta or _NOTHING
        text = choice.text or delta.content or ""
        said = bool(text or delta.reasoning or delta.reasoning_content or delta.tool_calls)
        answer = self._answer
        if math.isnan(answer.first):
            # An answer that ends without any text has a token nevertheless.
            if said or choice.finish_reason:
                answer.first = answer.last = self._now
        elif said:
            answer.gaps.append(self._now - answer.last)
            answer.last = self._now
        if text:
            self._words.append(text)
