"""Read JSON bodies: only the named fields, and a clear text for the client when they are wrong.

A prompt can be megabytes, so a body is decoded once, straight into a struct that names what is needed;
everything else is skipped over. Whatever a client sends ends in a struct or in `BadRequest`.
"""

import json
import re
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Medium, Payload, Prompt
from endpoint_picker.parsing import media

B = TypeVar("B", bound="Body")

ABSENT: Final = msgspec.Raw(b"")
"""The value of a raw field that the body does not have."""
LARGEST_COUNT: Final = 1 << 53
"""The last whole number that every JSON reader agrees on; a larger count is nonsense."""
LONGEST_NUMBER: Final = 32
"""Bytes; keeps a number of a million digits from being read at all."""


class Body(msgspec.Struct):
    """Fields of every dialect; a dialect's own body says what its prompts are."""

    model: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT
    cache_salt: str | None = None

    def pieces(self) -> list[bytes] | None:
        """What the one prompt of a body with media is joined from; None where there is none to join."""
        return None

    def found(self) -> tuple[Prompt, ...]:
        """The prompts; none where what is required is missing. Raises ValueError where it is wrong."""
        return ()

    def media(self) -> tuple[Medium, ...]:
        """The media that no piece of a prompt stands for."""
        return ()

    def cap(self) -> int | None:
        """The most tokens that the client wants back; None where it does not say."""
        return None

    def payload(self) -> Payload:
        """What a pick needs. A model of another type than string is as good as none."""
        pieces = self.pieces()
        return Payload(
            model=string(self.model) or "",
            stream=bytes(self.stream) == b"true",
            prompts=self.found() if pieces is None else (b"".join(pieces),),
            cache_salt=self.cache_salt or "",
            max_output_tokens=self.cap(),
            media=self.media() if pieces is None else media.among(pieces),
        )


@dataclass(frozen=True, slots=True)
class Complaints:
    """What a dialect tells its clients; `{reason}` is filled in."""

    malformed: str
    """The body is no JSON object."""
    mismatched: str
    """A field is not of its type."""
    missing: str
    """What is required is not there, or empty."""


class _Anything(msgspec.Struct):
    """Any JSON object."""


_OBJECT: Final = msgspec.json.Decoder(_Anything)
_STRING: Final = msgspec.json.Decoder(str)


def parse(decoder: "msgspec.json.Decoder[B]", body: bytes, complaints: Complaints) -> Payload:
    """Read a body. Raises BadRequest in the dialect's words."""
    try:
        payload = decoder.decode(body).payload()
    except (ValueError, RecursionError) as error:
        readable = without_lone_surrogates(body)
        if readable != body:
            return parse(decoder, readable, complaints)
        raise BadRequest(_complaint(body, error, complaints)) from error
    if not payload.prompts:
        raise BadRequest(complaints.missing)
    return payload


def opening(raw: msgspec.Raw) -> bytes:
    """The first byte of a raw value, which tells its kind; none where it is absent."""
    return bytes(memoryview(raw)[:1])


def string(raw: msgspec.Raw) -> str | None:
    """The string that a raw value holds; None when it holds something else (or nothing)."""
    if raw is ABSENT:
        return None
    try:
        return _STRING.decode(raw)
    except ValueError:
        return None


def count(*candidates: msgspec.Raw) -> int | None:
    """The first of these values that is a whole number from 0 up; 1e2 and 100.0 are whole too."""
    for raw in candidates:
        if raw is ABSENT:
            continue
        text = bytes(raw) if len(memoryview(raw)) <= LONGEST_NUMBER else b""
        if not text[:1].isdigit():
            continue
        number = int(text) if text.isdigit() else float(text)
        if number <= LARGEST_COUNT and number == int(number):
            return int(number)
    return None


_SURROGATES: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a proper pair
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of one
    rb"|.)",
    re.DOTALL,
)


def without_lone_surrogates(body: bytes) -> bytes:
    r"""The body with each escaped half of a surrogate pair as `\ufffd`, which is just as long.

    Clients that cut text at a number of UTF-16 units send such halves; model servers take them.
    """
    if b"\\u" not in body:
        return body
    return _SURROGATES.sub(lambda match: rb"\ufffd" if match[1] else match[0], body)


def _complaint(body: bytes, error: Exception, complaints: Complaints) -> str:
    """Bad syntax comes before bad types, wherever in the body each of them is."""
    try:
        _OBJECT.decode(body)
    except (ValueError, RecursionError) as worse:
        return complaints.malformed.format(reason=_reason(body, worse))
    if isinstance(error, UnicodeDecodeError):
        return complaints.malformed.format(reason=error)
    return complaints.mismatched.format(reason=_reason(body, error))


def _reason(body: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    reason = str(error)
    place = re.search(r"invalid character \(byte (\d+)\)", reason)
    return (place and _broken_literal(body, int(place[1]))) or reason


_WORDS: Final = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)'  # a string, also one that never ends
    rb"|([ntf][^\s,\]}]*)",
    re.DOTALL,
)


def _broken_literal(body: bytes, place: int) -> str | None:
    """The familiar wording for something that begins like null, true or false; None when it is not that."""
    for match in _WORDS.finditer(body):
        if match.start() > place:
            return None
        word = (match[1] or b"").decode("latin-1")
        literal = next((name for name in ("null", "true", "false") if word[:1] == name[0]), "")
        for found, expected in zip(word, literal, strict=False):
            if found != expected:
                place_in_word = f"in literal {literal} (expecting {_quoted(expected)})"
                return f"invalid character {_quoted(found)} {place_in_word}"
    return None


def _quoted(character: str) -> str:
    if character in "'\"":
        return "'\\''" if character == "'" else "'\"'"
    return f"'{json.dumps(character)[1:-1]}'"
