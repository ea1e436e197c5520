"""Refusals: what a request that is not routed is told.

The tree, with the HTTP status that each maps to (texts and codes are those of the field's reference):

    Refusal                  the base; carries code, message, drop reason
      BadRequest             400
      PreconditionFailed     412
      PayloadTooLarge        413
      ResourceExhausted      429
      Internal               500
      ServiceUnavailable     503

Plugins return masks, scores and rows, not exceptions, for "no"; a refusal ends the request. Anything
else that is raised is a defect: it is logged once at the boundary and answered as `Internal`.

    ConfigError              a configuration, an endpoints file or a flag is wrong; ends the start-up,
                             or keeps the last good state on a reload
"""

from http import HTTPStatus
from typing import ClassVar, Final

REJECTED_SATURATED: Final = "rejected-saturated"
REJECTED_NO_ENDPOINTS: Final = "rejected-no-endpoints"


class Refusal(Exception):
    """A request that gets an answer from the picker itself instead of a replica."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        """Value of the header `x-llm-d-request-dropped-reason`, or None to leave it out."""

    @property
    def code(self) -> str:
        """Name of the error as clients and the metric label `error_code` see it."""
        return type(self).__name__

    @property
    def body(self) -> str:
        """The plain text answered to the client."""
        return f"inference error: {self.code} - {self.message}"


class BadRequest(Refusal):
    status = HTTPStatus.BAD_REQUEST


class PreconditionFailed(Refusal):
    status = HTTPStatus.PRECONDITION_FAILED


class PayloadTooLarge(Refusal):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class ResourceExhausted(Refusal):
    status = HTTPStatus.TOO_MANY_REQUESTS


class Internal(Refusal):
    status = HTTPStatus.INTERNAL_SERVER_ERROR


class ServiceUnavailable(Refusal):
    status = HTTPStatus.SERVICE_UNAVAILABLE


class ConfigError(Exception):
    """What a person wrote is wrong; the message says where, what, and what would be right."""
