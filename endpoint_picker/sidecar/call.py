"""One request under way."""

import uuid
from typing import Final

from aiohttp import web

from endpoint_picker.core import wire
from endpoint_picker.core.errors import BadRequest
from endpoint_picker.parsing import legs
from endpoint_picker.parsing.legs import Api, Fields
from endpoint_picker.sidecar import headers, targets
from endpoint_picker.sidecar.errors import Answered, Kind, flat
from endpoint_picker.sidecar.targets import Target

_OURS: Final = ("expect",)
"""Fields that we answered ourselves."""


class Call:
    """What the client sent, and what of it goes on."""

    def __init__(self, request: web.Request, api: Api | None, engine: Target) -> None:
        self.request = request
        self.api = api
        self.engine = engine
        """The local engine that decodes."""
        self.path = request.raw_path if request.raw_path.startswith("/") else request.rel_url.raw_path_qs
        """With the query, as it was sent."""
        self.headers = headers.onward(request.headers, drop=_OURS)
        # One socket serves both families, and has a longer name for addresses of the older one.
        headers.forwarded(self.headers, targets.canonical(request.remote or ""))
        self.request_id = request.headers.get(wire.REQUEST_ID) or str(uuid.uuid1())
        """What both legs are known by: the picker's and the client's logs have it, too."""
        self.body = b""
        self.fields: Fields = {}
        """The body's top level, once it is held."""

    def taken(self, name: str) -> list[str]:
        """The items of a header that is for us; it goes no further."""
        values: list[str] = self.headers.popall(name, [])
        return [item.strip() for value in values for item in value.split(",") if item.strip()]

    async def hold(self, limit: int) -> None:
        """Take the whole body. Raises Answered when it is no JSON object, or larger than `limit` bytes."""
        if (self.request.content_length or 0) > limit:
            raise Answered(_too_large(limit))
        try:
            self.body = await self.request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise Answered(_too_large(limit)) from error
        except web.RequestPayloadError as error:
            raise Answered(flat(Kind.BadRequestError, f"the body broke off: {error}")) from error
        try:
            self.fields = legs.opened(self.body)
        except BadRequest as error:
            raise Answered(flat(Kind.BadRequestError, error.message)) from error

    def leg_headers(self, request_id: str | None = None, *, readable: bool = False) -> headers.Headers:
        """The fields for a body of another length; `readable`: we read the answer, so nothing may pack it."""
        fields = {wire.REQUEST_ID: request_id} if request_id else {}
        drop = ("Content-Length", "Accept-Encoding") if readable else ("Content-Length",)
        return headers.with_fields(self.headers, fields, drop)


def _too_large(limit: int) -> web.Response:
    return flat(
        Kind.PayloadTooLarge,
        f"the body is larger than {limit} bytes; see the sidecar's --max-request-body-bytes",
    )
