"""vLLM's gRPC dialect: texts or token ids in protobuf messages (see `protos/vllm_engine.proto`).

A request names no model, for the server has only one; so there is nothing to rewrite either.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Prompt, Usage
from endpoint_picker.parsing import contracts
from endpoint_picker.parsing.grpc_messages import MessageReader, only_message
from endpoint_picker.parsing.paths import trimmed
from endpoint_picker.parsing.prompts import Features, Placeholder, tokens
from endpoint_picker.plugin import Plugin, UsageReader

GENERATE: Final = "vllm.grpc.engine.VllmEngine/Generate"
EMBED: Final = "vllm.grpc.engine.VllmEngine/Embed"

_GENERATE: Final = contracts.reader("endpoint_picker.vllm.GenerateRequest")
_GENERATED: Final = contracts.reader("endpoint_picker.vllm.GenerateResponse")
_EMBED: Final = contracts.reader("endpoint_picker.vllm.EmbedRequest")
_EMBEDDED: Final = contracts.reader("endpoint_picker.vllm.EmbedResponse")


class VllmGrpc(Plugin):
    """`vllmgrpc-parser`: the messages of vLLM's gRPC server."""

    type = "vllmgrpc-parser"
    suffixes: ClassVar[Sequence[str]] = (GENERATE, EMBED)

    def parse(self, path: str, body: bytes) -> Payload:
        """Raises BadRequest when the body is not one message with a prompt; other methods are not read."""
        path = trimmed(path)
        try:
            if path.endswith(GENERATE):
                return _generate(_GENERATE(only_message(body)))
            if path.endswith(EMBED):
                return Payload(prompts=_prompts(_EMBED(only_message(body))))
        except ValueError as error:
            raise BadRequest(f"invalid or unsupported gRPC payload: {error}") from error
        return Payload()

    def rewrite(self, body: bytes, model: str) -> bytes:
        """The body as it came: it names no model."""
        return body

    def usage(self, *, streaming: bool) -> UsageReader:
        """Reads the counts of each message. Only generation streams."""
        return MessageReader(_generated if streaming else _answered)


# === requests ===


def _generate(request: Any) -> Payload:
    limited = request.HasField("sampling_params") and request.sampling_params.HasField("max_tokens")
    features = _features(request.mm_inputs) if request.HasField("mm_inputs") else None
    return Payload(
        stream=request.stream,
        prompts=(request.text.encode(),) if request.text else _prompts(request, features),
        max_output_tokens=request.sampling_params.max_tokens if limited else None,
        media=features.media() if features else (),
    )


def _prompts(request: Any, features: Features | None = None) -> tuple[Prompt, ...]:
    """The one prompt of token ids. Raises ValueError where there is none."""
    if not request.tokenized.input_ids:
        raise ValueError("it has no prompt")
    ids = tokens(request.tokenized.input_ids[:])
    return (features.marked(ids) if features else ids,)


def _features(media: Any) -> Features:
    """The server takes pictures only."""
    places = [Placeholder(place.offset, place.length) for place in media.mm_placeholders]
    return Features({"image": list(media.mm_hashes)}, {"image": places})


# === responses ===


def _generated(message: bytes) -> Usage:
    response = _GENERATED(message)
    which = response.WhichOneof("response")
    return _counts(getattr(response, which)) if which else Usage()


def _answered(message: bytes) -> Usage:
    """Of either kind: only the answer to `Embed` has a number where `Generate` has a message."""
    embedded = _EMBEDDED(message)
    if embedded.HasField("prompt_tokens"):
        return Usage(embedded.prompt_tokens)
    return _generated(message)


def _counts(answer: Any) -> Usage:
    return Usage(*(_given(answer, name) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")))


def _given(answer: Any, name: str) -> int | None:
    return getattr(answer, name) if answer.HasField(name) else None
