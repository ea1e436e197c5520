"""The gRPC health services that gateways and kubelets ask.

Any service name is answered: an unknown one with the process's liveness, never "unknown". `Watch` is not
implemented, so that its callers fall back to polling `Check`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

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

    def status(self, service: str) -> bool:
        """Whether the service serves."""
        return self._answers.get(service, self._live)()

    async def check(self, request: Any, context: Any) -> Any:
        return self._response(request.service)

    async def list(self, request: Any, context: Any) -> Any:
        return health_pb2.HealthListResponse(statuses={name: self._response(name) for name in self._listed})

    def handler(self) -> grpc.GenericRpcHandler:
        """The methods, to be added to a gRPC server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(
                    self.check,
                    request_deserializer=health_pb2.HealthCheckRequest.FromString,
                    response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
                ),
                "List": grpc.unary_unary_rpc_method_handler(
                    self.list,
                    request_deserializer=health_pb2.HealthListRequest.FromString,
                    response_serializer=health_pb2.HealthListResponse.SerializeToString,
                ),
            },
        )

    def _response(self, service: str) -> Any:
        serving = health_pb2.HealthCheckResponse.SERVING
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=serving if self.status(service) else not_serving)


class HealthServer:
    """Serves health on a port of its own, in plaintext."""

    def __init__(self, handler: grpc.GenericRpcHandler) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((handler,))

    async def start(self, port: int) -> int:
        """Listen; answers the port. Raises OSError when it is taken."""
        try:
            bound: int = self._server.add_insecure_port(f"[::]:{port}")
        except RuntimeError as error:
            raise OSError(f"port {port} cannot be listened on: {error}") from error
        await self._server.start()
        return bound

    async def stop(self) -> None:
        await self._server.stop(None)
