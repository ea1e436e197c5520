"""Items of responses and conversations: what an agent said, called, was answered.

Clients put far more kinds of items there than are worth naming. A message gives its role and text as in a
chat; anything else stands in the prompt as the client spelled it.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from endpoint_picker.parsing.bodies import ABSENT, opening, string
from endpoint_picker.parsing.media import digest
from endpoint_picker.parsing.prompts import given, said


class ItemPart(msgspec.Struct):
    """One part of a message: text, or a medium that is told apart by its digest."""

    text: str | None = None
    image_url: msgspec.Raw = ABSENT
    input_audio: msgspec.Raw = ABSENT
    file_data: msgspec.Raw = ABSENT

    def prompt(self) -> Iterator[bytes]:
        """The bytes that stand for this part."""
        if self.text:
            yield self.text.encode()
        for kind in ("image_url", "input_audio", "file_data"):
            medium: msgspec.Raw = getattr(self, kind)
            if given(medium):
                yield digest(kind, medium)


class Item(msgspec.Struct):
    """A message, or something else (then without content)."""

    type: str | None = None
    role: str | None = None
    content: str | list[ItemPart] | None = None

    def prompt(self) -> list[bytes]:
        """The bytes that stand for this item."""
        return said(self.role, self.content)


_ITEM: Final = msgspec.json.Decoder(Item)
_VALUES: Final = msgspec.json.Decoder(list[msgspec.Raw])


def loose(raw: msgspec.Raw) -> Iterator[bytes]:
    """The prompt of a value of any kind: of a string its text, of an array that of its items."""
    kind = opening(raw)
    if kind == b'"':
        yield (string(raw) or "").encode()
    elif kind == b"[":
        for value in _VALUES.decode(raw):
            yield from _item(value)
    else:
        yield given(raw)


def _item(raw: msgspec.Raw) -> Iterator[bytes]:
    try:
        item = _ITEM.decode(raw)
    except ValueError:
        yield given(raw)
        return
    if item.content is None:
        yield given(raw)
    else:
        yield from item.prompt()
