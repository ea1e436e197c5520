"""Answers of our own when a request cannot be served, in the flat shape that clients of the field know.

Answered      ends the request with this answer
"""

import enum
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web


class Kind(enum.Enum):
    """The `type` of an error; the value is its status."""

    BadRequestError = HTTPStatus.BAD_REQUEST
    PayloadTooLarge = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    InternalServerError = HTTPStatus.INTERNAL_SERVER_ERROR
    BadGateway = HTTPStatus.BAD_GATEWAY
    ServiceUnavailable = HTTPStatus.SERVICE_UNAVAILABLE
    GatewayTimeout = HTTPStatus.GATEWAY_TIMEOUT


FORBIDDEN: Final = "Forbidden: prefill target not allowed by SSRF protection"


class Answered(Exception):
    """The request ends here, with this answer."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


def flat(kind: Kind, message: str) -> web.Response:
    """An error without the outer `error` object of other servers."""
    body = {"object": "error", "message": message, "type": kind.name, "param": "", "code": int(kind.value)}
    return web.Response(
        status=kind.value, body=msgspec.json.encode(body), headers={"Content-Type": "application/json"}
    )


def empty(status: int) -> web.Response:
    return web.Response(status=status)


def forbidden() -> web.Response:
    """What a target that is not allowed is answered with."""
    return web.Response(status=HTTPStatus.FORBIDDEN, text=FORBIDDEN)
