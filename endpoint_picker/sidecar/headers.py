"""Header fields on their way through: what belongs to one connection only stays behind."""

from collections.abc import Iterable, Mapping
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from endpoint_picker.core import wire

FORWARDED: Final = "X-Forwarded-For"

Headers = CIMultiDict[str]


def onward(headers: CIMultiDictProxy[str] | CIMultiDict[str], drop: Iterable[str] = ()) -> Headers:
    """The fields that go on, in their order; `drop` are further names, in lower case."""
    named = {name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(",")}
    left = wire.HOP_BY_HOP | named | frozenset(drop)
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in left and _writable(value)
    )


def forwarded(headers: Headers, peer: str | None) -> None:
    """Add who asked us to the list of those who asked before."""
    if peer:
        headers[FORWARDED] = ", ".join([*headers.getall(FORWARDED, ()), peer])


def with_fields(headers: Headers, fields: Mapping[str, str], drop: Iterable[str] = ()) -> Headers:
    """A copy in which each of these fields stands once, and those of `drop` do not."""
    copy = headers.copy()
    for name in drop:
        copy.popall(name, None)
    copy.update(fields)
    return copy


def _writable(value: str) -> bool:
    """Bytes that are no UTF-8 were read as lone surrogates, which cannot be written again."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
