"""Vertex AI's gRPC dialect: OpenAI's JSON, wrapped in protobuf (see `protos/vertex_ai.proto`).

The wrapping is read, never written: the model's name is known, but stays what the client wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.parsing import contracts, usage
from endpoint_picker.parsing.grpc_messages import Frames, only_message
from endpoint_picker.parsing.openai import OpenAI
from endpoint_picker.parsing.paths import trimmed
from endpoint_picker.plugin import Plugin, UsageReader, Wiring

_METHODS: Final[Mapping[str, tuple[str, str]]] = {
    "PredictionService/ChatCompletions": ("ChatCompletionsRequest", "/chat/completions"),
    "PredictionService/StreamRawPredict": ("StreamRawPredictRequest", "/responses"),
    "PredictionService/RawPredict": ("RawPredictRequest", "/responses"),
}
"""Method → its message, and the path at which OpenAI's API takes the JSON in it."""
_REQUEST: Final = contracts.reader("endpoint_picker.vertex_ai.PredictRequest")
_RESPONSE: Final = contracts.reader("endpoint_picker.vertex_ai.HttpBody")


class VertexAI(Plugin):
    """`vertexai-parser`: chat completions and responses inside the messages of `PredictionService`."""

    type = "vertexai-parser"
    suffixes: ClassVar[Sequence[str]] = tuple(_METHODS)

    def __init__(self, name: str, parameters: None, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        self._openai = OpenAI(name, None, wiring)

    def parse(self, path: str, body: bytes) -> Payload:
        """Raises BadRequest for a wrapping that cannot be read and for JSON that OpenAI's API would refuse.

        Other methods are not read.
        """
        path = trimmed(path)
        for method, (message, inner) in _METHODS.items():
            if path.endswith(method):
                return self._unwrapped(message, inner, body)
        return Payload()

    def rewrite(self, body: bytes, model: str) -> bytes:
        """The body as it came."""
        return body

    def usage(self, *, streaming: bool) -> UsageReader:
        """Reads `usage` in the JSON of each message."""
        return _Unwrapping()

    def _unwrapped(self, message: str, inner: str, body: bytes) -> Payload:
        try:
            request = _REQUEST(only_message(body))
        except ValueError as error:
            raise BadRequest(f"invalid or unsupported gRPC payload: {error}") from error
        if not request.HasField("http_body"):
            raise BadRequest(f"{message} has no HttpBody")
        try:
            read = self._openai.parse(inner, request.http_body.data)
        except BadRequest as refusal:
            raise BadRequest(f"parsing {message}: {refusal.message}") from refusal
        return replace(read, model=read.model or None, model_is_fixed=True)


class _Unwrapping:
    """Each message of a response is a document of its own, or the next bytes of a stream of events."""

    __slots__ = ("_events", "_frames", "_usage")

    def __init__(self) -> None:
        self._frames = Frames()
        self._events = usage.reader(usage.openai, streaming=True)
        self._usage = Usage()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        for message in self._frames.feed(chunk):
            try:
                self._take(_RESPONSE(message).data)
            except ValueError:
                continue

    def finish(self) -> Usage:
        """The numbers that came last."""
        return usage.merged(self._usage, self._events.finish())

    def _take(self, data: bytes) -> None:
        if data[:1] != b"{":
            self._events.feed(data)
            return
        document = usage.reader(usage.openai, streaming=False)
        document.feed(data)
        self._usage = usage.merged(self._usage, document.finish())
