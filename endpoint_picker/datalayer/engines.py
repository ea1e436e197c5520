"""Says which metric names each model server uses for the same few facts.

The names and the rules for entries of one's own are those of the field, so that an `engineConfigs` block
written for the reference works here unchanged.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from endpoint_picker.config.hints import with_hint

RESERVED: Final = "default"
"""No engine may have this name: deployments use it in labels to mean the default engine."""

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(
    r"""\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*
    (?: "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)' | (?P<bare>[^\s,{}"'=]+) )
    \s*(?:,|$)""",
    re.VERBOSE,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spec:
    """Which series of a page are meant: a family, and label values that must match."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


class CustomMetric(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A further gauge, published under a key of the user's."""

    attribute_key: str
    metric_spec: str


class EngineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where one kind of model server publishes its load; an empty spec: nowhere."""

    name: str
    queued_requests_spec: str = ""
    running_requests_spec: str = ""
    kv_usage_spec: str = ""
    lora_spec: str = ""
    cache_info_spec: str = ""
    """A family whose labels, not its value, tell the size of the cache."""
    cache_block_size_label_name: str = "block_size"
    cache_num_blocks_label_name: str = "num_gpu_blocks"
    cache_block_size_spec: str = ""
    cache_num_blocks_spec: str = ""
    custom_metrics: tuple[CustomMetric, ...] = ()


BUILT_IN: Final = (
    EngineConfig(
        name="vllm",
        queued_requests_spec="vllm:num_requests_waiting",
        running_requests_spec="vllm:num_requests_running",
        kv_usage_spec="vllm:kv_cache_usage_perc",
        lora_spec="vllm:lora_requests_info",
        cache_info_spec="vllm:cache_config_info",
    ),
    EngineConfig(
        name="sglang",
        queued_requests_spec="sglang:num_queue_reqs",
        running_requests_spec="sglang:num_running_reqs",
        kv_usage_spec="sglang:token_usage",
        cache_info_spec="sglang:cache_config_info",
        cache_block_size_label_name="page_size",
        cache_num_blocks_label_name="num_pages",
    ),
    EngineConfig(
        name="trtllm-serve",
        queued_requests_spec="trtllm_num_requests_waiting",
        running_requests_spec="trtllm_num_requests_running",
        kv_usage_spec="trtllm_kv_cache_utilization",
        cache_block_size_spec="trtllm_kv_cache_tokens_per_block",
        cache_num_blocks_spec="trtllm_kv_cache_max_blocks",
    ),
    EngineConfig(
        name="triton-tensorrt-llm",
        queued_requests_spec="nv_trt_llm_request_metrics{request_type=waiting}",
        running_requests_spec="nv_trt_llm_request_metrics{request_type=scheduled}",
        kv_usage_spec="nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}",
        cache_block_size_spec="nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=tokens_per}",
        cache_num_blocks_spec="nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}",
    ),
    EngineConfig(
        name="triton",
        queued_requests_spec="nv_inference_pending_request_count",
        running_requests_spec="nv_inference_exec_count",
    ),
)


def parse_spec(text: str) -> Spec | None:
    """Read `name` or `name{label=value,…}`, quotes optional; None for an empty text. Raises ValueError."""
    text = text.strip()
    if not text:
        return None
    head = _NAME.match(text)
    if head is None:
        raise ValueError(f"{text!r} does not begin with a metric name; write name or name{{label=value}}")
    rest = text[head.end() :].strip()
    if not rest:
        return Spec(head[0])
    if not (rest.startswith("{") and rest.endswith("}")):
        raise ValueError(f"{text!r}: after the name comes nothing or labels in braces: name{{label=value}}")
    return Spec(head[0], tuple(_labels(rest[1:-1], text).items()))


def merged(entries: Iterable[EngineConfig], default: str) -> Mapping[str, EngineConfig]:
    """The built-in engines with the user's beside or in place of them, by name.

    Raises ValueError with the key that is wrong.
    """
    engines = {engine.name: engine for engine in BUILT_IN}
    own: set[str] = set()
    for number, entry in enumerate(entries):
        _check(entry, f"engineConfigs[{number}]", own)
        own.add(entry.name)
        engines[entry.name] = entry
    if default not in engines:
        raise ValueError(with_hint(f'defaultEngine: there is no engine "{default}"', default, engines))
    return engines


def _check(entry: EngineConfig, where: str, taken: set[str]) -> None:
    if not entry.name:
        raise ValueError(f"{where}.name: is empty; give the engine a name")
    if entry.name == RESERVED:
        raise ValueError(f'{where}.name: "{RESERVED}" is reserved; use another name and set defaultEngine')
    if entry.name in taken:
        raise ValueError(f'{where}.name: "{entry.name}" is there twice; remove one')
    for field in msgspec.structs.fields(entry):
        if field.name.endswith("_spec"):
            _check_spec(getattr(entry, field.name), f"{where}.{field.encode_name}")
    keys: set[str] = set()
    for number, metric in enumerate(entry.custom_metrics):
        _check_custom(metric, f"{where}.customMetrics[{number}]", keys)


def _check_custom(metric: CustomMetric, where: str, taken: set[str]) -> None:
    if not metric.attribute_key:
        raise ValueError(f"{where}.attributeKey: is empty; name the attribute that the metric becomes")
    if metric.attribute_key in taken:
        raise ValueError(f'{where}.attributeKey: "{metric.attribute_key}" is there twice; remove one')
    if not metric.metric_spec.strip():
        raise ValueError(f"{where}.metricSpec: is empty; write name or name{{label=value}}")
    taken.add(metric.attribute_key)
    _check_spec(metric.metric_spec, f"{where}.metricSpec")


def _check_spec(text: str, where: str) -> None:
    try:
        parse_spec(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _labels(inside: str, text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    at = 0
    while inside[at:].strip():
        found = _LABEL.match(inside, at)
        if found is None:
            raise ValueError(
                f'{text!r}: cannot read {inside[at:].strip()!r}; write label=value or label="value"'
            )
        if found["name"] in labels:
            raise ValueError(f"{text!r}: the label {found['name']} is there twice")
        quoted = found["double"] if found["double"] is not None else found["single"]
        labels[found["name"]] = found["bare"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
        at = found.end()
    return labels
