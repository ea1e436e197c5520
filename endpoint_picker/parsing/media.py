"""Pictures, films and sounds of a body: what stands for them in a prompt, and what is kept of them.

A body may carry megabytes of base64; they are read once, and their digest serves both as the mark in the
prompt and for telling where the same medium has been encoded before.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from endpoint_picker.core.request import Medium

DIGEST_BYTES: Final = 8
"""Enough to tell media apart; the digest stands in the prompt for megabytes of base64."""
_MODALITIES: Final[Mapping[str, str]] = {
    "image_url": "image",
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "video",
}
"""Key of a part → what an encoder makes of it; what is not listed (a file) is encoded by none."""


class Mark(bytes):
    """The bytes that stand for a medium in a prompt."""

    medium: Medium


def digest(kind: str, *values: msgspec.Raw, modality: str = "") -> bytes:
    """A short mark for something that is large, or that is no text: the same values, the same mark.

    What is a medium by its kind, or by the modality that is given, is marked as one.
    """
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for value in values:
        state.update(value)
        state.update(b"\n")  # a value does not end in one: keeps the values apart
    mark = Mark(b"<%b:%b>" % (kind.encode(), state.hexdigest().encode()))
    modality = modality or _MODALITIES.get(kind, "")
    if not modality:
        return bytes(mark)
    mark.medium = Medium(modality, state.digest())
    return mark


def named(modality: str, name: str) -> Medium:
    """A medium that the client has digested itself."""
    return Medium(modality, hashlib.blake2b(name.encode(), digest_size=DIGEST_BYTES).digest())


def among(pieces: Iterable[bytes]) -> tuple[Medium, ...]:
    """The media that some of these pieces of a prompt stand for."""
    return tuple([piece.medium for piece in pieces if type(piece) is Mark])
