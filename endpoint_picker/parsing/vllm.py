"""vLLM's own dialect: prompts that the client has already turned into token ids."""

from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Medium, Payload, Prompt
from endpoint_picker.parsing import usage
from endpoint_picker.parsing.bodies import ABSENT, Body, Complaints, count, parse
from endpoint_picker.parsing.paths import trimmed
from endpoint_picker.parsing.prompts import Features, tokens
from endpoint_picker.parsing.rewrite import replace_model
from endpoint_picker.plugin import Plugin, UsageReader

_COMPLAINTS: Final = Complaints(
    malformed="error unmarshaling request bodyMap: {reason}",
    mismatched="invalid generate request: {reason}",
    missing="invalid generate request: must have non-empty token_ids field",
)


class SamplingParams(msgspec.Struct):
    """How the answer is made; only its length matters here."""

    max_tokens: msgspec.Raw = ABSENT


class Generate(Body):
    """Body of inference/v1/generate."""

    token_ids: list[int] | None = None
    features: Features | None = None
    sampling_params: SamplingParams | None = None

    def found(self) -> tuple[Prompt, ...]:
        if not self.token_ids:
            return ()
        ids = tokens(self.token_ids)
        return (self.features.marked(ids) if self.features else ids,)

    def media(self) -> tuple[Medium, ...]:
        return self.features.media() if self.features else ()

    def cap(self) -> int | None:
        return count(self.sampling_params.max_tokens) if self.sampling_params else None


_GENERATE: Final = msgspec.json.Decoder(Generate)


class VllmHttp(Plugin):
    """`vllmhttp-parser`: token ids in; usage as OpenAI's HTTP API has it."""

    type = "vllmhttp-parser"
    suffixes: ClassVar[Sequence[str]] = ("inference/v1/generate",)

    def parse(self, path: str, body: bytes) -> Payload:
        """Raises BadRequest when there are no token ids."""
        path = trimmed(path)
        if not path.endswith("/inference/v1/generate"):
            raise BadRequest(f"unsupported path: {path}")
        return parse(_GENERATE, body, _COMPLAINTS)

    def rewrite(self, body: bytes, model: str) -> bytes:
        """The same body for another model."""
        return replace_model(body, model)

    def usage(self, *, streaming: bool) -> UsageReader:
        """Reads `usage`."""
        return usage.reader(usage.openai, streaming=streaming)
