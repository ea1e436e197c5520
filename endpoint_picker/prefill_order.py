"""A prompt that another endpoint is to compute before its request goes on: what is sent there, and merged.

The client's request is sent for one token to who computes the prompt; what that answers under
`kv_transfer_params` says where the computed prompt is, and goes into the client's request unread.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from endpoint_picker.core import wire
from endpoint_picker.core.decision import Decision, Inline, ProfileResult
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.records import record
from endpoint_picker.core.request import Request
from endpoint_picker.parsing import legs

UNSPLIT: Final = "unsplit"
"""The outcome, as metrics name it, of a request that has no body yet, or none that can be split."""

Place = tuple[int, Endpoint]
"""Table row, and the endpoint that it holds."""

_NOT_SENT_ON: Final = (
    wire.CONTROL_HEADERS
    | wire.HOP_BY_HOP
    | {wire.DATA_PARALLEL_RANK, "accept-encoding", "content-length", "expect", "host"}
)
"""What belongs to the client's connection or body, or to the picker."""


@record
class PrefillOrder:
    """What is to be done before the request goes on."""

    inline: Inline
    path: str
    headers: Mapping[str, str]
    body: bytes
    """Asks for the prompt and one token."""
    places: tuple[Place, ...]
    """Where: the second where the first fails."""
    fields: legs.Fields
    """Of the client's request."""

    def headers_at(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Header fields of what is sent there."""
        return {**self.headers, **dict(endpoint.fields)}

    @property
    def size(self) -> int:
        """Bytes that are held for it: the request, and what is sent for it."""
        return 2 * len(self.body)

    def filled(self, params: msgspec.Raw) -> bytes:
        """The client's request, with where the computed prompt is."""
        return legs.written(legs.decode_leg(self.fields, params))


def prefill_order(
    request: Request, decision: Decision, body: bytes, table: EndpointTable
) -> PrefillOrder | None:
    """None where nobody else is to compute the prompt, or the request is none that can be split."""
    api, inline, prefill = legs.api_of(request.path), decision.inline, decision.prefill
    if api is None or inline is None or prefill is None:
        return None
    if not request.path.startswith("/"):
        return None  # behind the endpoint's address it would be read as a part of that
    try:
        fields = legs.opened(body)
        if not legs.single(fields):
            return None
        leg = legs.prefill_leg(api, fields, legs.NIXL_PREFILL_PARAMS)
    except BadRequest:
        return None  # the replica that serves it says what is wrong, and says it better
    places = tuple(_places(prefill, table))
    return PrefillOrder(inline, request.path, _headers(request), legs.written(leg), places, fields)


def _headers(request: Request) -> dict[str, str]:
    fields = {**request.headers, wire.REQUEST_ID: request.id}
    sent = {
        name: text
        for name, value in fields.items()
        if name not in _NOT_SENT_ON and not name.startswith(":") and (text := _writable(value)) is not None
    }
    return {**sent, "content-type": "application/json", "accept-encoding": "identity"}


_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _writable(value: str) -> str | None:
    """A value, which is bytes kept as latin-1, as the text that is written as them; None where none is."""
    if _CONTROL.search(value):
        return None
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return None


def _places(prefill: ProfileResult, table: EndpointTable) -> list[Place]:
    """The picked one, and the one that comes next: by the picker's own order, else by the totals."""
    picked = list(zip(prefill.rows, prefill.endpoints, strict=True))[:2]
    if len(picked) == 1:
        others = prefill.scored_rows != prefill.rows[0]
        if others.any():
            rows, totals = prefill.scored_rows[others], prefill.totals[others]
            row = int(rows[totals.argmax()])
            picked.append((row, table[row]))
    return picked
