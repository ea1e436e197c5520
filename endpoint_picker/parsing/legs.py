"""The two legs of a request whose prompt is computed elsewhere: the bodies of the prefill and of the decode.

A body is opened at its top level only: a value that nobody changes keeps the client's own bytes, so a
prompt of megabytes is passed on as it came. Nothing here waits or does I/O.
"""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from endpoint_picker.core.errors import BadRequest
from endpoint_picker.parsing import usage
from endpoint_picker.parsing.bodies import ABSENT, opening, without_lone_surrogates
from endpoint_picker.parsing.paths import trimmed
from endpoint_picker.parsing.rewrite import address

Fields = dict[str, msgspec.Raw]
"""The top level of a JSON object, in its order; of repeated keys the last."""


class Api(enum.Enum):
    """What a prompt can be sent to; the value is the end of its path."""

    COMPLETIONS = "completions"
    CHAT = "chat/completions"
    MESSAGES = "messages"
    RESPONSES = "responses"
    GENERATE = "inference/v1/generate"


TRANSFER: Final = "kv_transfer_params"
"""The field in which the engines tell each other where the cache of a prompt is."""
SAMPLING: Final = "sampling_params"
NIXL_PREFILL_PARAMS: Final = msgspec.Raw(
    b'{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,'
    b'"remote_block_ids":null,"remote_host":null,"remote_port":null}'
)
"""What asks an engine to compute a prompt, and to keep its cache for another engine to fetch."""
TRUE: Final = msgspec.Raw(b"true")
FALSE: Final = msgspec.Raw(b"false")
ZERO: Final = msgspec.Raw(b"0")
ONE: Final = msgspec.Raw(b"1")

_OBJECT: Final = msgspec.json.Decoder(Fields)
_ENDS: Final = sorted(Api, key=lambda api: -len(api.value))
"""The longest first: one is the end of another."""


def api_of(path: str) -> Api | None:
    """What a request path asks for; None where it is nothing that has two legs."""
    path = trimmed(path)
    return next((api for api in _ENDS if path.endswith(f"/{api.value}")), None)


def opened(body: bytes) -> Fields:
    """The fields of a request body. Raises BadRequest when it is no JSON object."""
    try:
        return _fields(body)
    except ValueError as error:
        raise BadRequest(f"the body is no JSON object: {error}") from error


def written(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """The fields as a JSON object."""
    return msgspec.json.encode(fields)


def single(fields: Fields) -> bool:
    """Whether a body asks for one answer to one prompt: what a prefill hands over serves no more than that.

    Of several prompts the engines hand over the first one's cache, then use it for all: the other answers are
    wrong, and a longer prompt ends the engine. Nor can an engine tell the log probabilities of a prompt that
    it has not computed: some compute it all the same, others end.
    """
    if not _one_answer(fields):
        return False
    sampling = fields.get(SAMPLING, ABSENT)
    if opening(sampling) == b"{" and not _one_answer(_fields(bytes(sampling))):
        return False
    return sum(_prompts(fields[name]) for name in ("prompt", "prompt_embeds") if name in fields) <= 1


def prefill_leg(api: Api, fields: Fields, params: msgspec.Raw | bytes) -> Fields:
    """What the prefill replica is sent: the same prompt, for one token, with these transfer parameters.

    The limits are set where the client set none, too: `min_tokens` keeps the one token from being the end
    of the sequence, after which some engines keep no cache. Raises BadRequest.
    """
    leg = one_token(api, fields)
    for name in ("max_tokens", "max_completion_tokens", "min_tokens") if api in _CHATTY else ():
        leg[name] = ONE
    if api is Api.GENERATE:
        leg[SAMPLING] = _limited(fields, "max_tokens", "min_tokens")
    leg[TRANSFER] = msgspec.Raw(params)
    return leg


def one_token(api: Api, fields: Fields) -> Fields:
    """The same prompt for one token, not streamed; of the client's limits only those that it set.

    Raises BadRequest.
    """
    leg = {name: value for name, value in fields.items() if name != "stream_options"}
    leg["stream"] = FALSE
    if api is Api.GENERATE:
        leg[SAMPLING] = _limited(fields, "max_tokens")
        return leg
    leg["max_output_tokens" if api is Api.RESPONSES else "max_tokens"] = ONE
    for name in ("max_completion_tokens", "min_tokens"):
        if name in leg:
            leg[name] = ONE
    return leg


def decode_leg(fields: Fields, params: msgspec.Raw | bytes) -> Fields:
    """What the decode replica is sent: the client's own request, with what the prefill replica answered."""
    return {**fields, TRANSFER: msgspec.Raw(params)}


def transfer_params(response_body: bytes) -> msgspec.Raw | None:
    """The transfer parameters that a prefill answered with; None where it has none to give.

    Raises ValueError when the body is no JSON object.
    """
    params = _fields(response_body).get(TRANSFER)
    return params if params is not None and opening(params) == b"{" else None


def cached_tokens(response_body: bytes) -> int | None:
    """How many tokens of the prompt a response says were cached; None where it does not say."""
    for dialect in (usage.openai, usage.anthropic):
        try:
            cached = dialect(response_body).cached_tokens
        except (ValueError, RecursionError):
            continue
        if cached is not None:
            return cached
    return None


_ONE_OR_NONE: Final = (b"1", b"null")
_NOTHING: Final = (b"null", b"false")
_ABOUT_THE_PROMPT: Final = ("prompt_logprobs", "prompt_logprob_token_ids", "echo")
"""Fields that ask for the prompt in the answer, or for how likely it was."""
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_CHATTY: Final = frozenset({Api.COMPLETIONS, Api.CHAT, Api.MESSAGES})


def _one_answer(fields: Fields) -> bool:
    """As far as limits say; none is about the prompt."""
    if any(bytes(fields[name]) not in _NOTHING for name in _ABOUT_THE_PROMPT if name in fields):
        return False
    return all(bytes(fields[name]) in _ONE_OR_NONE for name in ("n", "best_of") if name in fields)


def _prompts(field: msgspec.Raw) -> int:
    """How many a field has: texts or lists of tokens, in a list where they are several."""
    if opening(field) != b"[" or bytes(field)[1:].lstrip()[:1] not in (b'"', b"[", b"{"):
        return 0 if bytes(field) == b"null" else 1
    return len(_ITEMS.decode(without_lone_surrogates(bytes(field))))


def _limited(fields: Fields, *names: str) -> msgspec.Raw:
    """The sampling parameters with limits of one token: these, and `min_tokens` where there is one."""
    given = fields.get(SAMPLING, msgspec.Raw(b"null"))
    if bytes(given) == b"null":
        sampling: Fields = {}
    elif opening(given) == b"{":
        sampling = _fields(bytes(given))
    else:
        raise BadRequest(f"{SAMPLING} is no JSON object")
    limited = {*names, *({"min_tokens"} & sampling.keys())}
    return msgspec.Raw(written({**sampling, **dict.fromkeys(sorted(limited), ONE)}))


def _fields(body: bytes) -> Fields:
    """Raises ValueError."""
    try:
        return _OBJECT.decode(body)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError:
        readable = without_lone_surrogates(body)
        if readable == body:
            raise
    # A replacement is as long as what it replaces: what is found in one is at the same place in the other.
    start = address(readable)
    return {name: _at(body, address(raw) - start, raw) for name, raw in _fields(readable).items()}


def _at(body: bytes, start: int, raw: msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(body[start : start + len(memoryview(raw))])
