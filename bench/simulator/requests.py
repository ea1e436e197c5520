"""Bodies of requests as types, and the refusals that vLLM answers to those that make no sense.

Only fields that change what the simulator does are named; all others are accepted and ignored, as the real
server accepts fields that it does not know.
"""

from typing import Annotated, Any, TypeVar

import msgspec

TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Prompt = str | list[str | TokenId | list[TokenId]]
Message = dict[str, Any]


class Refused(Exception):
    """An answer in vLLM's error format."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.param = status, kind, message, param

    def body(self) -> dict[str, Any]:
        """The JSON of the OpenAI routes."""
        return {
            "error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        }


def bad_request(message: str, param: str | None = None) -> Refused:
    """400 for a request that is well formed and cannot be served."""
    return Refused(400, "BadRequestError", message, param)


class StreamOptions(msgspec.Struct):
    """Whether a stream tells its usage."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class Sampling(msgspec.Struct, kw_only=True):
    """What all generating bodies share."""

    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    min_tokens: int | None = 0
    ignore_eos: bool | None = False
    n: int | None = 1
    seed: int | None = None
    cache_salt: str | None = None
    kv_transfer_params: dict[str, Any] | None = None

    def check(self) -> None:
        """Raise what the real server's validators raise."""
        if self.stream_options and not self.stream:
            raise bad_request("`stream_options` needs `stream=True`.", "stream_options")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise bad_request(f"`max_tokens` must be at least 1, got {self.max_tokens}.", "max_tokens")
        if self.max_tokens is not None and (self.min_tokens or 0) > self.max_tokens:
            raise bad_request(
                f"`min_tokens` ({self.min_tokens}) is greater than `max_tokens` ({self.max_tokens}).",
                "min_tokens",
            )
        if self.n is not None and self.n < 1:
            raise bad_request(f"`n` must be at least 1, got {self.n}.", "n")


class CompletionBody(Sampling):
    """POST /v1/completions."""

    prompt: Prompt


class ChatBody(Sampling):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_completion_tokens: int | None = None
    tools: list[Any] | None = None
    add_generation_prompt: bool | None = True


class MessagesBody(Sampling):
    """POST /v1/messages."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: int
    system: str | list[Any] | None = None
    tools: list[Any] | None = None


class ResponsesBody(Sampling):
    """POST /v1/responses."""

    input: str | list[Message]
    instructions: str | None = None
    max_output_tokens: int | None = None
    tools: list[Any] | None = None


class SamplingParams(msgspec.Struct):
    """Of /inference/v1/generate."""

    max_tokens: int | None = 16
    min_tokens: int | None = 0
    ignore_eos: bool | None = False
    n: int | None = 1
    seed: int | None = None


class GenerateBody(msgspec.Struct):
    """POST /inference/v1/generate."""

    token_ids: Annotated[list[TokenId], msgspec.Meta(min_length=1)]
    sampling_params: SamplingParams
    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    cache_salt: str | None = None
    kv_transfer_params: dict[str, Any] | None = None
    request_id: str | None = None


class EmbeddingsBody(msgspec.Struct):
    """POST /v1/embeddings."""

    input: Prompt
    model: str | None = None
    encoding_format: str | None = "float"
    dimensions: int | None = None


class TokenizeBody(msgspec.Struct):
    """POST /tokenize: a prompt or messages."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    tools: list[Any] | None = None
    add_generation_prompt: bool | None = True
    return_token_strs: bool | None = False


class DetokenizeBody(msgspec.Struct):
    """POST /detokenize."""

    tokens: list[TokenId]
    model: str | None = None


class LoadAdapterBody(msgspec.Struct):
    """POST /v1/load_lora_adapter."""

    lora_name: str
    lora_path: str


class UnloadAdapterBody(msgspec.Struct):
    """POST /v1/unload_lora_adapter."""

    lora_name: str


Body = TypeVar("Body", bound=msgspec.Struct)


def decode(raw: bytes, kind: type[Body]) -> Body:
    """A body of the given type; Refused (400 "Bad Request") names the field that does not fit."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        param = f"body{path.rstrip('`')}"
        raise Refused(400, "Bad Request", f"1 validation error: {param}: {text}", param) from error
    except msgspec.DecodeError as error:
        raise Refused(400, "Bad Request", f"the body is no JSON: {error}", "body") from error
