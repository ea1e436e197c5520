"""SGLang's own dialect: prompts that the client has already turned into token ids.

A request names no model, for the server has only one; so there is nothing to rewrite either.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec

from endpoint_picker.core.attributes import Tokens
from endpoint_picker.core.errors import BadRequest
from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.parsing import usage
from endpoint_picker.parsing.bodies import ABSENT, Body, Complaints, count, opening, parse, string
from endpoint_picker.parsing.paths import trimmed
from endpoint_picker.parsing.prompts import tokens
from endpoint_picker.plugin import Plugin, UsageReader

PATHS: Final = ("generate", "/generate")
WORD: Final = b"meta_info"
"""Where a response says what it cost."""

_COMPLAINTS: Final = Complaints(
    malformed="error unmarshaling request bodyMap: {reason}",
    mismatched="{reason}",
    missing="invalid generate request: input_ids cannot be empty",
)


class SamplingParams(msgspec.Struct):
    """How the answer is made; only its length matters here."""

    max_new_tokens: msgspec.Raw = ABSENT


class MetaInfo(msgspec.Struct):
    """What a response says of itself; of any types, so that one odd number does not spoil the others."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    cached_tokens: Any = None
    finish_reason: msgspec.Raw = ABSENT


class Response(msgspec.Struct):
    """A response, or one event of a stream."""

    meta_info: MetaInfo | None = None


_IDS: Final = msgspec.json.Decoder(list[int])
_SAMPLING: Final = msgspec.json.Decoder(SamplingParams)
_RESPONSE: Final = msgspec.json.Decoder(Response)


class Generate(Body):
    """Body of generate."""

    cache_salt: Any = None
    """Has another name here; what stands under this one is not looked at."""
    input_ids: msgspec.Raw = ABSENT
    extra_key: msgspec.Raw = ABSENT
    sampling_params: msgspec.Raw = ABSENT

    def payload(self) -> Payload:
        """Raises ValueError in the words for the client."""
        ids = _ids(self.input_ids)
        return Payload(
            stream=bytes(self.stream) == b"true",
            prompts=(ids,) if len(ids) else (),
            cache_salt=_salt(self.extra_key),
            max_output_tokens=_cap(self.sampling_params),
        )


_GENERATE: Final = msgspec.json.Decoder(Generate)


class SGLangHttp(Plugin):
    """`sglanghttp-parser`: token ids in; usage as SGLang's own API has it."""

    type = "sglanghttp-parser"
    suffixes: ClassVar[Sequence[str]] = ("generate",)

    def parse(self, path: str, body: bytes) -> Payload:
        """Raises BadRequest when there are no token ids, or the path only ends like this API's."""
        path = trimmed(path)
        if path not in PATHS:
            raise BadRequest(f"unsupported path: {path}")
        return parse(_GENERATE, body, _COMPLAINTS)

    def rewrite(self, body: bytes, model: str) -> bytes:
        """The body as it came: it names no model."""
        return body

    def usage(self, *, streaming: bool) -> UsageReader:
        """Reads `meta_info`."""
        return usage.reader(reported, streaming=streaming, word=WORD)


def reported(data: bytes) -> Usage:
    """Usage in a document or an event; before the last event it is not final, and not read."""
    meta = _RESPONSE.decode(data).meta_info
    if meta is None or opening(meta.finish_reason) == b"n":
        return Usage()
    return Usage(*map(usage.number, (meta.prompt_tokens, meta.completion_tokens, meta.cached_tokens)))


def _ids(raw: msgspec.Raw) -> Tokens:
    if opening(raw) in (b"", b"n"):
        raise ValueError("invalid generate request: input_ids must be provided")
    try:
        return tokens(_IDS.decode(raw))
    except ValueError as error:
        raise ValueError("invalid generate request: input_ids must be an array of uint32 integers") from error


def _salt(raw: msgspec.Raw) -> str:
    salt = string(raw)
    if salt is None and opening(raw) not in (b"", b"n"):
        raise ValueError("unsupported generate request: extra_key must be a string")
    return salt or ""


def _cap(raw: msgspec.Raw) -> int | None:
    """None where it is not said, or said in another shape than that of one prompt."""
    if opening(raw) != b"{":
        return None
    return count(_SAMPLING.decode(raw).max_new_tokens)
