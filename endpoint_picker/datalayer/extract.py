"""Turns a replica's metrics page into gauges.

The page is a claim, not a fact: what cannot be true becomes "not known", and a page that has nothing of what
its engine should publish is an error, so that a wrong port or engine label shows instead of looking idle.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from endpoint_picker.core.endpoints import Endpoint, Gauges
from endpoint_picker.datalayer import engines
from endpoint_picker.datalayer.engines import EngineConfig, Spec
from endpoint_picker.datalayer.page import Families, Series
from endpoint_picker.datalayer.series import (
    MOST,
    RANK_LABEL,
    ExtractError,
    Found,
    Scalars,
    count,
    matching,
    newest,
    of_rank,
    share,
)
from endpoint_picker.plugin import Parameters, Plugin, Wiring

LEGACY_ENGINE_LABEL: Final = "inference.networking.k8s.io/engine-type"
RANKED_ENGINE: Final = "vllm"
"""The engine that puts one series for each data-parallel rank on one page."""

_NOTHING: Final = Gauges()


class Reader:
    """Reads the pages of one engine."""

    def __init__(self, engine: EngineConfig) -> None:
        self._engine = engine
        self._ranked = engine.name == RANKED_ENGINE
        self._queued = engines.parse_spec(engine.queued_requests_spec)
        self._running = engines.parse_spec(engine.running_requests_spec)
        self._kv_usage = engines.parse_spec(engine.kv_usage_spec)
        self._lora = engines.parse_spec(engine.lora_spec)
        self._cache = engines.parse_spec(engine.cache_info_spec)
        self._block_size = engines.parse_spec(engine.cache_block_size_spec)
        self._num_blocks = engines.parse_spec(engine.cache_num_blocks_spec)
        specs = (
            self._queued,
            self._running,
            self._kv_usage,
            self._lora,
            self._cache,
            self._block_size,
            self._num_blocks,
        )
        self._families = Families(spec.name for spec in specs if spec is not None)

    def read(self, page: bytes, endpoint: Endpoint | None = None) -> Gauges:
        """What the page tells of the endpoint; None: of all that is on it.

        Raises ExtractError when that is nothing at all, and nothing else.
        """
        found = self._families.read(page)
        running, waiting, max_lora = self._lora_state(matching(found, self._lora))
        block_size, num_blocks = self._cache_size(found, endpoint)
        gauges = Gauges(
            waiting=count(self._value(found, self._queued, sum, endpoint)),
            running=count(self._value(found, self._running, sum, endpoint)),
            kv_usage=share(self._value(found, self._kv_usage, _mean, endpoint)),
            block_size=block_size,
            num_blocks=num_blocks,
            max_lora=max_lora,
            lora_running=running,
            lora_waiting=waiting,
        )
        if gauges == _NOTHING and len(self._families):
            raise ExtractError(f"the page has none of the metrics of the engine {self._engine.name}")
        if endpoint is not None and endpoint.split:
            self._check_rank(found, str(endpoint.global_rank))
        return gauges

    def _check_rank(self, found: Found, rank: str) -> None:
        """What is on the page about no rank must not pass for the load of each."""
        specs = (self._queued, self._running, self._kv_usage)
        if not any(one.label(RANK_LABEL) == rank for spec in specs for one in matching(found, spec)):
            raise ExtractError(
                f'the page has no load with {RANK_LABEL}="{rank}"; is dataParallel of the endpoint right?'
            )

    def _value(
        self,
        found: Found,
        spec: Spec | None,
        over_ranks: Callable[[Sequence[float]], float],
        endpoint: Endpoint | None = None,
    ) -> float | None:
        series = self._about(endpoint, matching(found, spec))
        if not series:
            return None
        if len(series) > 1 and self._ranked and _differ_in_rank_only(series):
            values = [one.value for one in series]
            return over_ranks(values) if all(0.0 <= value < math.inf for value in values) else math.nan
        return newest(series).value

    def _about(self, endpoint: Endpoint | None, series: Sequence[Series]) -> Sequence[Series]:
        """Other engines may mean something else by the label, unless the endpoint says that they do not."""
        split = endpoint is not None and endpoint.split
        return of_rank(series, endpoint) if self._ranked or split else series

    def _cache_size(self, found: Found, endpoint: Endpoint | None) -> tuple[int | None, int | None]:
        """Tokens a block, and blocks: from the labels of one family, else from gauges of their own."""
        block_size = _whole(self._value(found, self._block_size, _mean, endpoint))
        num_blocks = _whole(self._value(found, self._num_blocks, sum, endpoint))
        described = self._about(endpoint, matching(found, self._cache))
        if described:
            labels = newest(described).labels
            block_size = _known(_whole_label(labels, self._engine.cache_block_size_label_name), block_size)
            num_blocks = _known(self._blocks(described), num_blocks)
        return block_size, num_blocks

    def _blocks(self, described: Sequence[Series]) -> int | None:
        """Of all ranks together, where it is ranks that are described."""
        ranks = {one.label(RANK_LABEL) for one in described} - {None}
        counted = described if self._ranked and len(ranks) == len(described) else [newest(described)]
        sizes = [_whole_label(one.labels, self._engine.cache_num_blocks_label_name) for one in counted]
        if len(sizes) == 1:
            return sizes[0]
        return sum(size or 0 for size in sizes) if all(sizes) else 0

    @staticmethod
    def _lora_state(
        series: Sequence[Series],
    ) -> tuple[frozenset[str] | None, frozenset[str] | None, int | None]:
        """Adapters running, adapters waiting, and how many may run.

        Each state that the engine has been in leaves a series; its value is the time of that state.
        """
        if not series:
            return None, None, None
        labels = max(series, key=_value_or_least).labels
        running = _names(labels.get("running_lora_adapters", ""))
        waiting = _names(labels.get("waiting_lora_adapters", ""))
        return running, waiting, _whole_label(labels, "max_lora")


class ExtractorParameters(Parameters, frozen=True):
    """Parameters of `core-metrics-extractor`."""

    engine_label_key: str = "llm-d.ai/engine-type"
    default_engine: str = "vllm"
    engine_configs: tuple[EngineConfig, ...] = ()

    def __post_init__(self) -> None:
        engines.merged(self.engine_configs, self.default_engine)


class CoreMetricsExtractor(Plugin):
    """`core-metrics-extractor`: load, cache and adapters from the metrics of the known engines."""

    type = "core-metrics-extractor"
    schema = ExtractorParameters

    def __init__(self, name: str, parameters: ExtractorParameters, wiring: Wiring) -> None:
        super().__init__(name, parameters, wiring)
        known = engines.merged(parameters.engine_configs, parameters.default_engine)
        self._engines = {
            engine.name: (Reader(engine), Scalars(_custom(engine), name)) for engine in known.values()
        }
        self._default = self._engines[parameters.default_engine]
        self._label_keys = (parameters.engine_label_key, LEGACY_ENGINE_LABEL)

    def extract(self, page: bytes, row: int) -> None:
        """A reading of the gauges, and custom metrics under their keys. Raises ExtractError."""
        table = self.wiring.table
        reader, custom = self._engine(table[row].labels)
        written = custom.write(page, table, row)
        try:
            table.observe(row, reader.read(page, table[row]), self.wiring.clock())
        except ExtractError:
            if not written:
                raise

    def forget(self, row: int) -> None:
        """The gauges turn stale by themselves, custom metrics do not."""
        table = self.wiring.table
        self._engine(table[row].labels)[1].forget(table, row)

    def _engine(self, labels: Mapping[str, str]) -> tuple[Reader, Scalars]:
        for key in self._label_keys:
            if key in labels:
                return self._engines.get(labels[key], self._default)
        return self._default


def _custom(config: EngineConfig) -> Iterator[tuple[str, Spec]]:
    for metric in config.custom_metrics:
        if (spec := engines.parse_spec(metric.metric_spec)) is not None:
            yield metric.attribute_key, spec


# === choosing series ===


def _differ_in_rank_only(series: Sequence[Series]) -> bool:
    ranks: set[str | None] = set()
    rests = []
    for one in series:
        labels = one.labels
        ranks.add(labels.pop(RANK_LABEL, None))
        rests.append(labels)
    return len(ranks) == len(series) and None not in ranks and all(rest == rests[0] for rest in rests)


def _value_or_least(series: Series) -> float:
    return -math.inf if math.isnan(series.value) else series.value


# === judging values ===


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _whole(value: float | None) -> int | None:
    """A whole number of at least 1; 0 (not known) for anything else."""
    return None if value is None else int(value) if 1.0 <= value <= MOST else 0


def _whole_label(labels: Mapping[str, str], name: str) -> int | None:
    text = labels.get(name)
    if text is None:
        return None
    return _whole(float(text)) if text.isascii() and text.isdecimal() and len(text) <= 20 else 0


def _known(first: int | None, second: int | None) -> int | None:
    return first if first or second is None else second


def _names(text: str) -> frozenset[str]:
    return frozenset(stripped for part in text.split(",") if (stripped := part.strip()))
