from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.parsing.passthrough import Passthrough
from endpoint_picker.plugin import Parser
from tests.fakes.parsing import wiring

PARSER: Parser = Passthrough("rest", None, wiring())


def test_nothing_is_read_and_nothing_is_changed() -> None:
    assert not PARSER.suffixes
    assert PARSER.parse("/v1/rerank", b'{"model":"m"}') == Payload(model=None)
    assert PARSER.rewrite(b'{"model":"m"}', "n") == b'{"model":"m"}'


def test_no_usage_is_reported() -> None:
    for streaming in (True, False):
        reader = PARSER.usage(streaming=streaming)
        reader.feed(b'{"usage":{"prompt_tokens":5}}')
        assert reader.finish() == Usage()
