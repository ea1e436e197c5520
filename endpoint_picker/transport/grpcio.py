"""The plain shell: the same services on the server of the grpcio library."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import grpc

from endpoint_picker.observability import logs
from endpoint_picker.transport import tls
from endpoint_picker.transport.calls import Call, Open, Services
from endpoint_picker.transport.limits import Limits
from endpoint_picker.transport.messages import Status

log = logging.getLogger(__name__)

MOST: Final = (1 << 31) - 1
"""gRPC counts in 32 bits."""
CODES: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}


class Server:
    """Serves calls on a port."""

    def __init__(self, services: Services, limits: Limits) -> None:
        self.open = 0
        """Calls going on."""
        self._complaints = logs.Sparse(log)
        self._server = grpc.aio.server(options=_options(limits))
        self._server.add_generic_rpc_handlers((_Handlers(services, self._serve),))

    async def start(self, port: int, certificates: tls.Certificates | None = None) -> int:
        """Listen, with TLS where there are certificates; answers the port. Raises OSError."""
        place = f"[::]:{port}"
        try:
            if certificates is None:
                bound = self._server.add_insecure_port(place)
            else:
                bound = self._server.add_secure_port(place, _credentials(certificates))
        except RuntimeError as error:
            raise OSError(f"port {port} cannot be listened on: {error}") from error
        await self._server.start()
        return bound

    async def stop(self, patience: float) -> None:
        """Take no more calls, and give those that go on this long (seconds) to end. May be called again."""
        await self._server.stop(patience)

    async def _serve(self, begin: Open, context: Any) -> None:
        """One call, from the first message to the last."""
        said: asyncio.Queue[Iterable[bytes]] = asyncio.Queue()
        call = begin(said.put_nowait)
        self.open += 1
        try:
            await _converse(call, context, said)
        except Status as status:
            await context.abort(CODES[status.code], status.message)
        except (grpc.RpcError, grpc.aio.AioRpcError, grpc.aio.UsageError):
            pass  # the peer is gone; the call is closed below
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            self._complaints.exception(type(error).__name__, "a call failed: %r", call)
            await context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__} in the server")
        finally:
            self.open -= 1
            call.close()


async def _converse(call: Call, context: Any, said: "asyncio.Queue[Iterable[bytes]]") -> None:
    while not call.finished:
        message = await context.read()
        ends = message is grpc.aio.EOF
        for reply in call.half_close() if ends else call.receive(message):
            await context.write(reply)
        if ends:
            return
        # Nothing is read meanwhile; a peer that leaves cancels the wait.
        for reply in await said.get() if call.waits or not said.empty() else ():
            await context.write(reply)


class _Handlers(grpc.GenericRpcHandler):
    """Finds what serves a path. Messages stay bytes, so that both shells share what reads them."""

    def __init__(self, services: Services, serve: Callable[[Open, Any], Any]) -> None:
        self._services = services
        self._serve = serve

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        begin = self._services.get(str(details.method))
        if begin is None:
            return None

        async def serve(_: Any, context: Any) -> None:
            await self._serve(begin, context)

        method: Any = grpc.stream_stream_rpc_method_handler
        return method(serve)


def _options(limits: Limits) -> list[tuple[str, int]]:
    silence = int(limits.silence * 1000)
    options = [
        ("grpc.so_reuseport", 0),  # a second picker on the same port must fail, not share it
        ("grpc.max_receive_message_length", min(limits.message, MOST)),
        # A proxy keeps its connection warm; a ping without a stream is no offence.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_time_ms", silence),
        ("grpc.keepalive_timeout_ms", silence),
        ("grpc.http2.ping_timeout_ms", silence),  # a minute, whatever the line above says
        ("grpc.max_concurrent_streams", limits.streams),
        # Of a burst of new streams gRPC would refuse some at random from the thousandth on.
        ("grpc.server.max_pending_requests", MOST),
        ("grpc.server.max_pending_requests_hard_limit", MOST),
    ]
    if limits.send_message is not None:
        options.append(("grpc.max_send_message_length", min(limits.send_message, MOST)))
    return options


def _credentials(certificates: tls.Certificates) -> Any:
    renewed = certificates.renewed
    pair = [(certificates.identity.key, certificates.identity.certificate)]
    if renewed is None:
        return grpc.ssl_server_credentials(pair)

    def fetch() -> Any:
        new = renewed()
        return grpc.ssl_server_certificate_configuration([(new.key, new.certificate)]) if new else None

    return grpc.dynamic_ssl_server_credentials(grpc.ssl_server_certificate_configuration(pair), fetch)
