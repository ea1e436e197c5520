"""The shape of an EndpointPickerConfig document, field by field, as deployments in the field write it.

`Document` is what is written; `Config` is what is meant: names filled in, deprecated fields moved to where
they belong now, feature gates read. The rest of the program sees only `Config`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from endpoint_picker.config.lines import Lines, placed
from endpoint_picker.config.units import Duration, Quantity

KIND: Final = "EndpointPickerConfig"
API_VERSION: Final = "llm-d.ai/v1alpha1"
DEPRECATED_API_VERSION: Final = "inference.networking.x-k8s.io/v1alpha1"
API_VERSIONS: Final = (API_VERSION, DEPRECATED_API_VERSION, "llm-d.ai/v1")
GATES: Final[Mapping[str, bool]] = {"flowControl": False, "haPopulateNonLeaderDatastore": True}
"""Feature gates and their defaults."""


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A mapping of the document: keys in camelCase, unknown ones are errors."""


class PluginBlock(Block, frozen=True):
    """One plugin instance."""

    type: str = ""
    name: str = ""
    """The type where it is not written."""
    parameters: Any = None
    """Whatever the plugin's class makes of it."""


class Reference(Block, frozen=True):
    """Names a plugin instance."""

    plugin_ref: str = ""


class Weighted(Block, frozen=True):
    """A plugin's place in a profile."""

    plugin_ref: str = ""
    weight: float = 1.0
    """Factor of a scorer's score; means nothing for other plugins."""

    def __post_init__(self) -> None:
        if not -1e9 <= self.weight <= 1e9:
            raise ValueError(f"weight is {self.weight}; write a number such as 2")


class ProfileBlock(Block, frozen=True):
    """A scheduling profile."""

    name: str = ""
    plugins: tuple[Weighted, ...] = ()


class Source(Block, frozen=True):
    """A data source and what reads its pages."""

    plugin_ref: str = ""
    extractors: tuple[Reference, ...] = ()


class DataLayer(Block, frozen=True):
    """Where the facts about endpoints come from."""

    inject_defaults: bool = True
    """Scrape each endpoint's metrics page even where no source says so."""
    sources: tuple[Source, ...] = ()
    discovery: Reference | None = None
    peer_discovery: Reference | None = None
    cross_replica_syncer_plugin_ref: str = ""
    cross_replica_sync_interval: Duration = Duration(0.2)


class PriorityBand(Block, frozen=True):
    """Queue of one priority."""

    priority: int = 0
    max_bytes: Quantity | None = None
    max_requests: Quantity | None = None
    fairness_policy_ref: str = ""
    ordering_policy_ref: str = ""


class FlowControl(Block, frozen=True):
    """Queueing of requests that may not go at once."""

    max_bytes: Quantity | None = None
    max_requests: Quantity | None = None
    default_request_ttl: Duration | None = msgspec.field(name="defaultRequestTTL", default=None)
    no_endpoint_request_ttl: Duration | None = msgspec.field(name="noEndpointRequestTTL", default=None)
    default_priority_band: PriorityBand | None = None
    default_negative_priority_band: PriorityBand | None = None
    priority_bands: tuple[PriorityBand, ...] = ()
    usage_limit_policy_plugin_ref: str = ""
    saturation_detector: Reference | None = None
    enable_eviction: bool = False


class RequestHandler(Block, frozen=True):
    """How bodies are read."""

    parsers: tuple[Reference, ...] = ()


class Document(Block, frozen=True):
    """A whole configuration, as written."""

    api_version: str = ""
    kind: str = ""
    feature_gates: tuple[str, ...] = ()
    plugins: tuple[PluginBlock, ...] = ()
    scheduling_profiles: tuple[ProfileBlock, ...] = ()
    data_layer: DataLayer | None = None
    flow_control: FlowControl | None = None
    request_handler: RequestHandler | None = None
    saturation_detector: Reference | None = None
    """Deprecated: belongs to flowControl."""
    parser: Reference | None = None
    """Deprecated: belongs to requestHandler.parsers."""


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration, as meant."""

    source: str
    """Where it came from, for messages."""
    plugins: tuple[PluginBlock, ...] = ()
    """Each with a type and a name; names are unique."""
    profiles: tuple[ProfileBlock, ...] = ()
    data_layer: DataLayer = field(default_factory=DataLayer)
    flow_control: FlowControl = field(default_factory=FlowControl)
    parsers: tuple[Reference, ...] = ()
    gates: Mapping[str, bool] = field(default_factory=lambda: dict(GATES))
    lenient: bool = False
    """Unknown keys, of parameters too, warn instead of being errors."""
    lines: Lines = field(default_factory=Lines, compare=False, repr=False)

    def at(self, path: str) -> str:
        """The source, with the line of what the path names in it: how messages about it begin."""
        return placed(self.source, self.lines.at(path).line)


def default() -> Config:
    """What runs when nothing is configured: least work until the first token, which nobody has to tune."""
    producer, scorer = "approx-prefix-cache-producer", "prefill-work-scorer"
    # Conversations of programs grow long: the index is to know them whole.
    matched = {"maxPrefixTokensToMatch": 131_072}
    return Config(
        source="the default configuration",
        plugins=(
            PluginBlock(type=producer, name=producer, parameters=matched),
            PluginBlock(type=scorer, name=scorer),
        ),
        profiles=(ProfileBlock(name="default", plugins=(Weighted(plugin_ref=scorer),)),),
    )


def weighted(source: str) -> Config:
    """What a document without content means, as it does to the reference: load and cache hits, 2 : 2 : 3."""
    weights = {"queue-scorer": 2.0, "kv-cache-utilization-scorer": 2.0, "prefix-cache-scorer": 3.0}
    placed = tuple(Weighted(plugin_ref=name, weight=weight) for name, weight in weights.items())
    return Config(
        source=source,
        plugins=tuple(PluginBlock(type=name, name=name) for name in weights),
        profiles=(ProfileBlock(name="default", plugins=placed),),
    )
