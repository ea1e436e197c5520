import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_picker.datalayer.engines import BUILT_IN, EngineConfig, Spec, merged, parse_spec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("vllm:num_requests_waiting", Spec("vllm:num_requests_waiting")),
        ("  padded  ", Spec("padded")),
        ("q{}", Spec("q")),
        ("q{kind=wait}", Spec("q", (("kind", "wait"),))),
        ('q{kind="wait"}', Spec("q", (("kind", "wait"),))),
        ("q{kind='wait'}", Spec("q", (("kind", "wait"),))),
        ("q { a = b , c = d, }", Spec("q", (("a", "b"), ("c", "d")))),
        (r'q{a="x,y}\"z\\", b=2}', Spec("q", (("a", 'x,y}"z\\'), ("b", "2")))),
        ('q{a=""}', Spec("q", (("a", ""),))),
        ("", None),
        ("  ", None),
    ],
)
def test_a_spec_is_read(text: str, spec: Spec | None) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "{a=b}",
        "1st",
        "q{a=b",
        "q a=b}",
        "q}",
        "q{a}",
        "q{=b}",
        "q{a=}",
        "q{a=b c=d}",
        "q{a=b,a=c}",
        'q{a="b}',
    ],
)
def test_a_spec_that_cannot_be_read_is_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|twice|comes") as caught:
        parse_spec(text)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=40) | st.text(alphabet="q{}=,\"'\\\\ ab", max_size=16))
def test_any_text_is_a_spec_or_a_value_error(text: str) -> None:
    try:
        spec = parse_spec(text)
    except ValueError:
        return
    assert (spec is None) == (not text.strip())


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,4}", fullmatch=True), st.text(max_size=8), max_size=4),
)
def test_quoted_labels_survive(labels: dict[str, str]) -> None:
    quoted = ",".join(
        '{}="{}"'.format(key, value.replace("\\", "\\\\").replace('"', '\\"'))
        for key, value in labels.items()
    )
    spec = parse_spec(f"metric{{{quoted}}}")
    assert spec is not None
    assert dict(spec.labels) == labels


def test_the_built_in_engines_are_those_of_the_field() -> None:
    assert [engine.name for engine in BUILT_IN] == [
        "vllm",
        "sglang",
        "trtllm-serve",
        "triton-tensorrt-llm",
        "triton",
    ]
    assert merged(BUILT_IN, "vllm") == {engine.name: engine for engine in BUILT_IN}


def test_an_entry_of_ones_own_replaces_the_built_in_one_as_a_whole() -> None:
    own = EngineConfig(name="vllm", queued_requests_spec="my:queue")
    engines = merged([own], "vllm")
    assert engines["vllm"] is own
    assert engines["vllm"].kv_usage_spec == ""
    assert "sglang" in engines


def test_an_entry_of_ones_own_may_be_the_default() -> None:
    assert "acme" in merged([EngineConfig(name="acme")], "acme")


@pytest.mark.parametrize(
    ("entries", "default", "text"),
    [
        ([EngineConfig(name="")], "vllm", r"engineConfigs\[0\]\.name: is empty"),
        ([EngineConfig(name="default")], "vllm", r"engineConfigs\[0\]\.name: .*reserved"),
        ([EngineConfig(name="a"), EngineConfig(name="a")], "vllm", r"engineConfigs\[1\]\.name: .*twice"),
        ([], "vlm", r'defaultEngine: .*"vlm".*did you mean "vllm"'),
        ([EngineConfig(name="a", kv_usage_spec="{")], "vllm", r"engineConfigs\[0\]\.kvUsageSpec: "),
        (
            [
                msgspec.convert(
                    {"name": "a", "customMetrics": [{"attributeKey": "k", "metricSpec": "q{"}]}, EngineConfig
                )
            ],
            "vllm",
            r"engineConfigs\[0\]\.customMetrics\[0\]\.metricSpec: ",
        ),
    ],
)
def test_wrong_entries_are_named(entries: list[EngineConfig], default: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        merged(entries, default)
