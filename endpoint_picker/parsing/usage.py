"""Read what a response reports that it cost, in the shapes of the dialects.

A response passes chunk by chunk and most of it is text, so nothing is decoded that does not contain the
word `usage` (or the word of its dialect). What is malformed counts as not said: a response is never held up
by its bookkeeping.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from endpoint_picker.core.request import Usage
from endpoint_picker.parsing.bodies import ABSENT, LARGEST_COUNT, LONGEST_NUMBER, string
from endpoint_picker.parsing.sse import Events
from endpoint_picker.plugin import UsageReader

Dialect = Callable[[bytes], Usage]
"""One JSON object → what it reports. Raises ValueError or RecursionError when it cannot be read."""

LARGEST_DOCUMENT: Final = 1 << 20
"""Bytes of a JSON document that are held; of a larger one its ends."""
HEAD: Final = 64 << 10
TAIL: Final = 256 << 10
"""Bytes of a large document that are held: its usage stands near one of its ends."""
USAGE: Final = b"usage"
"""The key under which most dialects report."""
FINAL_EVENTS: Final = ("response.completed", "response.incomplete")
"""Events of the responses API that carry the usage inside `response`."""


class _Counts(msgspec.Struct):
    """A usage object of any dialect; of any types, so that one odd number does not spoil the others."""

    prompt_tokens: Any = None
    input_tokens: Any = None
    completion_tokens: Any = None
    output_tokens: Any = None
    prompt_tokens_details: Any = None
    input_tokens_details: Any = None
    cache_read_input_tokens: Any = None


class _Holder(msgspec.Struct):
    """An object with a usage in it."""

    usage: _Counts | None = None


class _Document(msgspec.Struct):
    """A response, or one event of a stream."""

    type: msgspec.Raw = ABSENT
    usage: _Counts | None = None
    response: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT


_DOCUMENT: Final = msgspec.json.Decoder(_Document)
_HOLDER: Final = msgspec.json.Decoder(_Holder)


def openai(data: bytes) -> Usage:
    """Usage as OpenAI's APIs report it, in a document or in an event."""
    document = _DOCUMENT.decode(data)
    counts = document.usage
    if counts is None and string(document.type) in FINAL_EVENTS:
        counts = _HOLDER.decode(document.response).usage
    if counts is None:
        return Usage()
    return Usage(
        number(counts.prompt_tokens, counts.input_tokens),
        number(counts.completion_tokens, counts.output_tokens),
        number(_cached(counts.prompt_tokens_details), _cached(counts.input_tokens_details)),
    )


def anthropic(data: bytes) -> Usage:
    """Usage as Anthropic's API reports it: a stream begins with the input and ends with the output."""
    document = _DOCUMENT.decode(data)
    begins = string(document.type) == "message_start"
    counts = _HOLDER.decode(document.message).usage if begins else document.usage
    if counts is None:
        return Usage()
    return Usage(
        number(counts.input_tokens),
        # At the beginning it is a guess.
        None if begins else number(counts.output_tokens),
        number(counts.cache_read_input_tokens),
    )


def merged(old: Usage, new: Usage) -> Usage:
    """The newer number of each kind; one that is missing or zero does not overwrite another."""
    if old == _NOTHING:
        return new
    return Usage(
        _newer(old.prompt_tokens, new.prompt_tokens),
        _newer(old.completion_tokens, new.completion_tokens),
        _newer(old.cached_tokens, new.cached_tokens),
    )


def reader(dialect: Dialect, *, streaming: bool, word: bytes = USAGE) -> UsageReader:
    """A reader for one response of a dialect that reports under this word."""
    return StreamReader(dialect, word) if streaming else DocumentReader(dialect, word)


class StreamReader:
    """Server-sent events: the last numbers count, since some servers repeat them in each event."""

    __slots__ = ("_dialect", "_events", "_usage")

    def __init__(self, dialect: Dialect, word: bytes = USAGE) -> None:
        self._dialect = dialect
        self._events = Events(word, self._take)
        self._usage = _NOTHING

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._events.feed(chunk)

    def finish(self) -> Usage:
        """The numbers that came last."""
        self._events.end()
        return self._usage

    def _take(self, data: bytes) -> bool:
        try:
            self._usage = merged(self._usage, self._dialect(data))
        except (ValueError, RecursionError):
            return False
        return True


class DocumentReader:
    """One JSON document. Of a large one (embeddings) the middle is not kept."""

    __slots__ = ("_cut", "_dialect", "_held", "_word")

    def __init__(self, dialect: Dialect, word: bytes = USAGE) -> None:
        self._dialect = dialect
        self._word = word
        self._held = bytearray()
        self._cut = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._held += chunk
        if len(self._held) > LARGEST_DOCUMENT:
            del self._held[HEAD:-TAIL]
            self._cut = True

    def finish(self) -> Usage:
        """What the document says, or what can be found in the parts of it that are there."""
        if self._word not in self._held:
            return _NOTHING
        if self._cut:
            head, tail = bytes(self._held[:HEAD]), bytes(self._held[HEAD:])
            return self._search(tail) or self._search(head) or _NOTHING
        whole = bytes(self._held)
        # A document that broke off may have said it before.
        return self._read(whole) or self._search(whole) or _NOTHING

    def _search(self, part: bytes) -> Usage | None:
        found = (self._read(b"{%b}" % match[0]) for match in _object_under(self._word).finditer(part))
        return next((usage for usage in reversed(list(found)) if usage not in (None, _NOTHING)), None)

    def _read(self, data: bytes) -> Usage | None:
        try:
            return self._dialect(data)
        except (ValueError, RecursionError):
            return None


_NOTHING: Final = Usage()
_NUMBERS: Final = (int, float)  # and not bool, which is an int to isinstance


@functools.cache
def _object_under(key: bytes) -> re.Pattern[bytes]:
    """The key cannot stand inside a string, where its quotes would have backslashes. Braces nest once."""
    return re.compile(rb'"%b"\s*:\s*\{(?:[^{}]++|\{[^{}]*+\})*+\}' % key)


def _newer(old: int | None, new: int | None) -> int | None:
    return new or (new if old is None else old)


def number(*candidates: Any) -> int | None:
    """The first that is a whole number from 0 up, or a string of one."""
    for value in candidates:
        if type(value) is int and 0 <= value <= LARGEST_COUNT:
            return value
        if isinstance(value, str) and len(value) <= LONGEST_NUMBER and value.isascii() and value.isdigit():
            value = int(value)
        if type(value) in _NUMBERS and 0 <= value <= LARGEST_COUNT and value == int(value):
            return int(value)
    return None


def _cached(details: Any) -> Any:
    return details.get("cached_tokens") if isinstance(details, dict) else None
