"""The gRPC health services that gateways and kubelets ask.

Any service name is answered: an unknown one with the process's liveness, never "unknown". `Watch` is not
implemented, so that its callers fall back to polling `Check`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from endpoint_picker.transport.calls import Services, Unary
from endpoint_picker.transport.messages import Code, Status

SERVICE: Final = "grpc.health.v1.Health"
READINESS: Final = "readiness"
LIVENESS: Final = "liveness"


class Health:
    """What is answered; the composition root says what is true."""

    def __init__(self, service: str, *, ready: Callable[[], bool], live: Callable[[], bool]) -> None:
        self._answers: Mapping[str, Callable[[], bool]] = {
            "": ready,
            READINESS: ready,
            service: ready,
            LIVENESS: live,
        }
        self._listed = (service, READINESS, LIVENESS)
        self._live = live

    def services(self) -> Services:
        """The methods, to be served on any port."""
        return {
            f"/{SERVICE}/Check": lambda _: Unary(self._check),
            f"/{SERVICE}/List": lambda _: Unary(self._list),
        }

    def status(self, service: str) -> bool:
        """Whether the service serves."""
        return self._answers.get(service, self._live)()

    def _check(self, message: bytes) -> bytes:
        try:
            request = health_pb2.HealthCheckRequest.FromString(message)
        except DecodeError as error:
            raise Status(Code.INTERNAL, f"not a HealthCheckRequest: {error}") from error
        return _bytes(self._response(request.service))

    def _list(self, message: bytes) -> bytes:
        return _bytes(
            health_pb2.HealthListResponse(statuses={name: self._response(name) for name in self._listed})
        )

    def _response(self, service: str) -> Any:
        serving = health_pb2.HealthCheckResponse.SERVING
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=serving if self.status(service) else not_serving)


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
