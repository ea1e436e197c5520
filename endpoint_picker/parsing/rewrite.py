"""Change the model name and nothing else: in a request on its way in, in the response on its way out.

A body is not decoded and encoded again for one name: key order, the spelling of numbers and escapes
belong to the client. The value is found where it stands, and the bytes around it stay.
"""

import re
from typing import Final

import msgspec
import numpy as np

from endpoint_picker.parsing.bodies import ABSENT, without_lone_surrogates


class _Named(msgspec.Struct):
    """The one field that is looked for; of repeated ones the last, as with the readers downstream."""

    model: msgspec.Raw = ABSENT


_NAMED: Final = msgspec.json.Decoder(_Named)
_OPENING: Final = re.compile(rb"\s*\{(\s*\})?")


def quoted(name: str) -> bytes:
    """The name as a JSON string, quotes included."""
    return msgspec.json.encode(name.encode(errors="replace").decode())


def replace_model(body: bytes, model: str) -> bytes:
    """The body with this value under its top-level key `model`; what is no JSON object stays as it is."""
    try:
        start, end = _place(body)
    except (ValueError, RecursionError):
        return body
    if start == end:
        return _with_model(body, quoted(model))
    return b"".join((body[:start], quoted(model), body[end:]))


def _place(body: bytes) -> tuple[int, int]:
    """Where the value begins and ends; twice the same number where there is none."""
    try:
        raw = _NAMED.decode(body).model
    except ValueError:
        # A replacement is as long as what it replaces, so that a place is the same in both.
        body = without_lone_surrogates(body)
        raw = _NAMED.decode(body).model
    length = len(memoryview(raw))
    start = address(raw) - address(body) if length else 0
    return start, start + length


def _with_model(body: bytes, name: bytes) -> bytes:
    opening = _OPENING.match(body)
    if opening is None:
        return body
    brace = body.index(b"{") + 1
    comma = b"" if opening[1] else b","
    return b"".join((body[:brace], b'"model":', name, comma, body[brace:]))


def address(view: bytes | msgspec.Raw) -> int:
    """Where the bytes lie in memory; a raw value is a view into the body that it was read from."""
    place: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return place


class ModelNameRestorer:
    """Gives a response the model name that the client asked for, at any depth of it.

    Replaces `"model":"<target>"`; only where a unit (what one call emits) has no such text, the spelling
    with one space after the colon. A text that may go on in the next chunk is held back.
    """

    __slots__ = ("_compact", "_held", "_replacements", "_spaced")

    def __init__(self, target: str, incoming: str) -> None:
        self._compact = b'"model":' + quoted(target)
        self._spaced = b'"model": ' + quoted(target)
        self._replacements = {
            self._compact: b'"model":' + quoted(incoming),
            self._spaced: b'"model": ' + quoted(incoming),
        }
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What can go on now. A chunk that ends with a line end is never held back."""
        data = self._held + chunk if self._held else chunk
        for needle, replacement in self._replacements.items():
            if needle in data:
                *parts, data = data.split(needle)
                kept = self._hold(data)
                return replacement.join((*parts, data[:kept]))
        return data[: self._hold(data)]

    def flush(self) -> bytes:
        """What was held back, at the end of the response (or of a message that cannot wait)."""
        held, self._held = self._held, b""
        return held

    def _hold(self, data: bytes) -> int:
        """Hold back the longest end of the data that may begin a match; answers where it begins."""
        kept = len(data)
        if not data.endswith(b"\n"):  # no needle has a line end
            kept = self._beginning(data)
        self._held = data[kept:]
        return kept

    def _beginning(self, data: bytes) -> int:
        place = data.find(b'"', max(0, len(data) - len(self._spaced) + 1))
        while place >= 0:
            end = data[place:]
            if self._compact.startswith(end) or self._spaced.startswith(end):
                return place
            place = data.find(b'"', place + 1)
        return len(data)
