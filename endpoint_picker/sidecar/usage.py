"""Puts the prefill replica's number of cached tokens into the usage that the decode replica reports.

The decode engine counts the blocks that it was handed as cached, which would make every prompt look cached.
Nothing else of an answer changes, and no event waits for the next one.
"""

from typing import Final, Protocol

import msgspec

from endpoint_picker.parsing.bodies import opening
from endpoint_picker.parsing.legs import Api, Fields

LONGEST_LINE: Final = 1 << 20
"""Bytes; a longer line of a stream passes as it is."""
LARGEST_DOCUMENT: Final = 64 << 20
"""Bytes; a larger document passes as it is."""
DETAILS: Final = {
    Api.COMPLETIONS: "prompt_tokens_details",
    Api.CHAT: "prompt_tokens_details",
    Api.GENERATE: "prompt_tokens_details",
    Api.RESPONSES: "input_tokens_details",
}
"""Where each API says how much was cached. Messages are left alone: there the parts must add up."""
_DATA: Final = b"data:"
_OBJECT: Final = msgspec.json.Decoder(Fields)


class Rewriter(Protocol):
    """Takes an answer's bytes and gives them on, changed or not."""

    def feed(self, chunk: bytes) -> bytes:
        """What can go on now."""

    def end(self) -> bytes:
        """What is left when the answer is over."""


def rewriter(api: Api, content_type: str, cached: int) -> Rewriter | None:
    """One for this kind of answer; None where it has nothing to change."""
    details = DETAILS.get(api)
    if details is None:
        return None
    kind = content_type.partition(";")[0].strip().lower()
    match kind:
        case "text/event-stream":
            return Stream(details, cached)
        case "application/json":
            return Document(details, cached)
    return None


class Document:
    """One JSON document; it is held until it is whole."""

    def __init__(self, details: str, cached: int) -> None:
        self._details = details
        self._cached = cached
        self._held = bytearray()
        self._gave_up = False

    def feed(self, chunk: bytes) -> bytes:
        if self._gave_up:
            return chunk
        self._held += chunk
        if len(self._held) <= LARGEST_DOCUMENT:
            return b""
        self._gave_up = True
        return self._taken()

    def end(self) -> bytes:
        return replaced(self._taken(), self._details, self._cached)

    def _taken(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held


class Stream:
    """Server-sent events: a line goes on as soon as it is whole."""

    def __init__(self, details: str, cached: int) -> None:
        self._details = details
        self._cached = cached
        self._line = bytearray()
        """The line that is not whole yet."""
        self._passes = False
        """The line that is not whole yet was too long to be held: the rest of it passes."""

    def feed(self, chunk: bytes) -> bytes:
        *lines, rest = chunk.split(b"\n")
        out = [self._whole(line) + b"\n" for line in lines]
        out.append(self._part(rest))
        return b"".join(out)

    def end(self) -> bytes:
        return self._whole(b"")

    def _whole(self, line: bytes) -> bytes:
        if self._passes:
            self._passes = False
            return line
        if self._line:
            line = bytes(self._line) + line
            self._line.clear()
        if not line.startswith(_DATA) or len(line) > LONGEST_LINE:
            return line
        start = len(_DATA) + line[len(_DATA) :].startswith(b" ")
        return line[:start] + replaced(line[start:], self._details, self._cached)

    def _part(self, part: bytes) -> bytes:
        if self._passes:
            return part
        self._line += part
        if len(self._line) <= LONGEST_LINE:
            return b""
        self._passes = True
        held = bytes(self._line)
        self._line.clear()
        return held


def replaced(document: bytes, details: str, cached: int) -> bytes:
    """The document with this number in its usage; as it is where it has none or cannot be read."""
    if b'"usage"' not in document:
        return document
    try:
        fields = _OBJECT.decode(document)
        usage = fields.get("usage")
        if usage is None or opening(usage) != b"{":
            return document
        counted = _OBJECT.decode(usage)
        inner = counted.get(details)
        told = _OBJECT.decode(inner) if inner is not None and opening(inner) == b"{" else {}
    except (ValueError, RecursionError):
        return document
    told["cached_tokens"] = _raw(cached)
    counted[details] = _raw(told)
    end = document[len(document.rstrip()) :]
    return msgspec.json.encode({**fields, "usage": _raw(counted)}) + end


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
