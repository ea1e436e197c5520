"""The `grpcio` shell: carries bytes between gRPC streams and the state machine."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from endpoint_picker.director import Director
from endpoint_picker.extproc import codec
from endpoint_picker.extproc.stream import OutOfOrder, Stream
from endpoint_picker.observability import logs
from endpoint_picker.transport.tls import Identity

log = logging.getLogger(__name__)

MESSAGE_ROOM: Final = 1 << 20
"""What a message may need beside the body that it carries: headers, metadata, framing."""
LEAST_RECEIVED: Final = 256 << 20
"""Bytes of a message that are always taken. A request body that comes whole (BUFFERED) must arrive to be told
that it is too large, and the limit on requests says nothing about responses."""
MOST: Final = (1 << 31) - 1
"""gRPC counts in 32 bits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one conversation; sizes in bytes."""

    request_body: int
    receive_message: int | None = None
    """Largest message from Envoy; None: room for any body in one message."""
    send_message: int | None = None
    """Largest message to Envoy; None: as gRPC has it."""
    silence: float = 20.0
    """Seconds without a byte from a peer before it is asked for a sign of life, and again before it is given
    up. What it had in flight would otherwise stay in the books for hours."""


class Server:
    """Serves the conversation on a port."""

    def __init__(self, director: Director, limits: Limits) -> None:
        self.open = 0
        """Conversations going on."""
        self._director = director
        self._limits = limits
        self._complaints = logs.Sparse(log)
        self._server = grpc.aio.server(options=_options(limits))
        self._server.add_generic_rpc_handlers((self._handler(),))

    def add(self, handler: grpc.GenericRpcHandler) -> None:
        """Serve another service on the same port."""
        self._server.add_generic_rpc_handlers((handler,))

    async def start(
        self, port: int, identity: Identity | None, renewed: Callable[[], Identity | None] | None = None
    ) -> int:
        """Listen, with TLS where there is an identity; answers the port. Raises OSError when it is taken.

        `renewed` is asked before each handshake and may answer a new identity.
        """
        place = f"[::]:{port}"
        try:
            if identity is None:
                bound = self._server.add_insecure_port(place)
            else:
                bound = self._server.add_secure_port(place, _credentials(identity, renewed))
        except RuntimeError as error:
            raise OSError(f"port {port} cannot be listened on: {error}") from error
        await self._server.start()
        return bound

    async def stop(self, patience: float) -> None:
        """Take no more conversations, and give those that go on this long (seconds) to end."""
        await self._server.stop(patience)

    async def process(self, _: Any, context: Any) -> None:
        """One conversation, from the first message to the last."""
        stream = Stream(self._director, max_request_body_bytes=self._limits.request_body)
        self.open += 1
        try:
            await self._converse(stream, context)
        except (codec.Malformed, OutOfOrder) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except (grpc.RpcError, grpc.aio.AioRpcError, grpc.aio.UsageError):
            pass  # the peer is gone; the books are settled below
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            self._complaints.exception(type(error).__name__, "a conversation failed in state %r", stream)
            await context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__} in the endpoint picker")
        finally:
            self.open -= 1
            stream.close()

    async def _converse(self, stream: Stream, context: Any) -> None:
        while not stream.finished:
            data = await context.read()
            if data is grpc.aio.EOF:
                return
            for reply in stream.receive(codec.decode(data)):
                await context.write(codec.encode(reply))

    def _handler(self) -> grpc.GenericRpcHandler:
        # No (de)serializers: messages stay bytes here, so that another shell can share the codec.
        method: Any = grpc.stream_stream_rpc_method_handler(self.process)
        return grpc.method_handlers_generic_handler(codec.SERVICE, {codec.METHOD: method})


def _options(limits: Limits) -> list[tuple[str, int]]:
    receive = limits.receive_message or max(LEAST_RECEIVED, limits.request_body + MESSAGE_ROOM)
    silence = int(limits.silence * 1000)
    options = [
        ("grpc.so_reuseport", 0),  # a second picker on the same port must fail, not share it
        ("grpc.max_receive_message_length", min(receive, MOST)),
        # A proxy keeps its connection warm; a ping without a stream is no offence.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_time_ms", silence),
        ("grpc.keepalive_timeout_ms", silence),
        ("grpc.http2.ping_timeout_ms", silence),  # a minute, whatever the line above says
        # Of a burst of new streams gRPC would refuse some at random from the thousandth on.
        ("grpc.server.max_pending_requests", MOST),
        ("grpc.server.max_pending_requests_hard_limit", MOST),
    ]
    if limits.send_message:
        options.append(("grpc.max_send_message_length", min(limits.send_message, MOST)))
    return options


def _credentials(identity: Identity, renewed: Callable[[], Identity | None] | None) -> Any:
    pair = [(identity.key, identity.certificate)]
    if renewed is None:
        return grpc.ssl_server_credentials(pair)

    def fetch() -> Any:
        new = renewed()
        return grpc.ssl_server_certificate_configuration([(new.key, new.certificate)]) if new else None

    return grpc.dynamic_ssl_server_credentials(grpc.ssl_server_certificate_configuration(pair), fetch)
