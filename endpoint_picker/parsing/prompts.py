"""Turn what a client wrote into prompts: text as UTF-8 bytes, token ids as arrays.

Later steps hash prompts block by block to find the replica that already holds their beginning, so two
rules hold here. Requests that begin with the same messages give prompts that begin with the same bytes,
and what makes the model see something else (an image, a tool call) makes the prompt another one.
"""

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from endpoint_picker.core.attributes import Tokens
from endpoint_picker.core.request import Medium, Prompt
from endpoint_picker.parsing import media
from endpoint_picker.parsing.bodies import ABSENT, opening

TextOrIds = str | list[str | int] | None
"""A prompt, several of them, or the token ids of one."""


class Media(msgspec.Struct):
    """What a part points to or carries: the fields of images, videos and audio together."""

    url: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT
    format: msgspec.Raw = ABSENT

    def __post_init__(self) -> None:
        for raw in (self.url, self.data, self.format):
            expect(raw, b'"')


class Placeholder(msgspec.Struct):
    """Where in the token ids a medium stands."""

    offset: int = 0
    length: int = 0


class Features(msgspec.Struct):
    """Media of a prompt of token ids: the hash of each and its place, by modality, in the same order."""

    mm_hashes: dict[str, list[str | None] | None] | None = None
    mm_placeholders: dict[str, list[Placeholder] | None] | None = None

    def marked(self, ids: Tokens) -> Tokens:
        """The ids with each medium's placeholders replaced by words of its hash.

        All images have the same placeholder ids; without the mark two images would be one prefix.
        """
        marked, left = ids.copy(), len(ids)
        for place, name in self._places():
            start = max(place.offset, 0)
            span = marked[start : max(place.offset + place.length, start)]
            left -= len(span)
            if left < 0:  # places that overlap: no real prompt, and not worth the time
                break
            span[:] = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest())
        return marked

    def media(self) -> tuple[Medium, ...]:
        """The media by modality, as the client lists them; one without a hash cannot be told apart."""
        hashes = (self.mm_hashes or {}).items()
        return tuple(
            media.named(modality, name) for modality, names in hashes for name in names or () if name
        )

    def _places(self) -> Iterator[tuple[Placeholder, str]]:
        hashes = self.mm_hashes or {}
        for modality, places in (self.mm_placeholders or {}).items():
            for place, name in zip(places or (), hashes.get(modality) or (), strict=False):
                yield place, f"{modality}:{name}"


def expect(raw: msgspec.Raw, start: bytes) -> None:
    """Raise ValueError unless the value is absent, null, or begins like this (`[` is an array, and so on)."""
    if raw is not ABSENT and opening(raw) not in (b"", b"n", start):
        raise ValueError(f"a value that begins with {start.decode()} is expected here")


def given(raw: msgspec.Raw) -> bytes:
    """The bytes of a value as the client spelled it; none where it is absent or null.

    Raises UnicodeDecodeError where they are no UTF-8: what is not decoded has not been checked.
    """
    if raw is ABSENT:
        return b""
    value = bytes(raw)
    if not value.isascii():
        value.decode()
    return b"" if value == b"null" else value


def one_or_more(value: TextOrIds) -> tuple[Prompt, ...]:
    """Each prompt on its own; none where the value is absent or empty.

    Raises ValueError when texts and ids are mixed, or an id does not fit into 32 bits.
    """
    if not value:
        return ()
    if isinstance(value, str):
        return (value.encode(),)
    if isinstance(value[0], int):
        return (tokens(value),)
    return tuple(_text(item) for item in value)


def tokens(ids: Sequence[Any]) -> Tokens:
    """Token ids as an array. Raises ValueError for anything but whole numbers of 32 bits."""
    try:
        # The array module checks and converts three times as fast as numpy does.
        return np.frombuffer(array("I", ids), np.uint32)
    except (OverflowError, TypeError) as error:
        raise ValueError("token ids are whole numbers from 0 to 4294967295") from error


def _text(item: str | int) -> bytes:
    if isinstance(item, int):
        raise ValueError("texts and token ids are mixed in one prompt")
    return item.encode()


class Part(Protocol):
    """One part of a message."""

    def prompt(self) -> Iterator[bytes]: ...


def said(role: str | None, content: str | Sequence[Part] | None) -> list[bytes]:
    """The bytes that stand for a message: who speaks, then the text or the parts."""
    pieces = [role.encode()] if role else []
    if isinstance(content, str):
        pieces.append(content.encode())
    elif content:
        for part in content:
            pieces += part.prompt()
    return pieces
