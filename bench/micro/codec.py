"""The codec: Envoy's messages into records, and records into messages for Envoy."""

from functools import partial

from bench.figures import Figure
from bench.micro.timing import Pace, cost, figure
from bench.samples import answers, talk
from bench.samples.prompts import Bodies
from endpoint_picker.core import wire
from endpoint_picker.extproc import codec
from endpoint_picker.extproc.messages import PIECE_BYTES, HeadersReply, Mutation, Piece, Reply, Side
from endpoint_picker.extproc.responses import MARK

SEED = 5
PLACE = "10.0.0.1:8000"


def figures(pace: Pace) -> list[Figure]:
    """Both ways."""
    return [*decoding(pace), *encoding(pace)]


def decoding(pace: Pace) -> list[Figure]:
    """Each kind of message that a request brings."""
    messages = {
        "request headers": talk.request_headers(),
        "request headers with a subset": talk.request_headers(endpoint=PLACE),
        "request body, 2 KB": talk.request_body(Bodies("small", SEED).next()),
        "request body, 400 KB": talk.request_body(Bodies("long", SEED).next()),
        "response headers": talk.response_headers(),
        "streamed chunk": talk.response_body(answers.TOKEN),
    }
    return [
        figure(
            _key("decode", name),
            f"decode {name}",
            cost(partial(codec.decode, message.SerializeToString()), pace),
        )
        for name, message in messages.items()
    ]


def encoding(pace: Pace) -> list[Figure]:
    """Each kind of answer."""
    picked = Mutation(
        set=((wire.DESTINATION, PLACE), ("content-length", "2003")),
        remove=(wire.PREFILLER, wire.ENCODERS),
        destination=PLACE,
        clear_route_cache=True,
    )
    replies: dict[str, Reply] = {
        "the pick": HeadersReply(Side.REQUEST, picked),
        "the mark on response headers": HeadersReply(Side.RESPONSE, MARK),
        "a body of 2 KB": Piece(Side.REQUEST, Bodies("small", SEED).next(), True),
        "the largest piece of a body": Piece(Side.REQUEST, b"x" * PIECE_BYTES, False),
        "a streamed chunk": Piece(Side.RESPONSE, answers.TOKEN, False),
    }
    return [
        figure(_key("encode", name), f"encode {name}", cost(partial(codec.encode, reply), pace))
        for name, reply in replies.items()
    ]


def _key(what: str, name: str) -> str:
    return f"{what}_{name.replace(',', '').replace(' ', '_')}"
