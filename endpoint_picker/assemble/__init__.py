"""Configuration + catalog → wired plugins: the one place that knows what is filled in by default.

A file rarely names everything that runs. What it leaves out is added here, in the way in which deployments
in the field expect: a handler and a picker (`profiles`), a producer for each fact that somebody needs
(`facts`), parsers, and the scraping of metrics pages. Whatever does not fit together is a ConfigError
before anything is started.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from endpoint_picker.assemble import facts, profiles, saturation
from endpoint_picker.assemble.made import Made
from endpoint_picker.catalog import Catalog, installed
from endpoint_picker.config.schema import Config, FlowControl, Reference
from endpoint_picker.core.attributes import Key, PrefixMatch, UncachedTokens
from endpoint_picker.datalayer.discovery import FileDiscovery
from endpoint_picker.datalayer.extract import CoreMetricsExtractor
from endpoint_picker.datalayer.scrape import Feed
from endpoint_picker.datalayer.sources import MetricsSource
from endpoint_picker.datalayer.topology import TopologyExtractor
from endpoint_picker.plugin import Detector, Extractor, Parser, Plugin, Producer, Source, Wiring
from endpoint_picker.scheduling.scheduler import Scheduler

log = logging.getLogger(__name__)

DEFAULT_PARSERS: Final = ("openai-parser", "anthropic-parser", "vllmhttp-parser", "passthrough-parser")


@dataclass(frozen=True, slots=True)
class Assembly:
    """Everything that a configuration makes run."""

    instances: Mapping[str, Plugin]
    """Every plugin instance by name, those that were added included."""
    scheduler: Scheduler
    producers: tuple[Producer, ...]
    """In the order in which they run: each after those whose facts it reads."""
    parsers: tuple[Parser, ...]
    """In configured order."""
    feeds: tuple[Feed, ...]
    """Data sources with what reads their pages."""
    discovery: FileDiscovery | None
    """Where the endpoints come from; None: the configuration does not say."""
    charge: Key[UncachedTokens]
    """The fact by which the ledger charges."""
    match: Key[PrefixMatch]
    """The fact that tells what endpoints hold of a prompt, where no plugin's parameter names another one."""
    detector: Detector
    """Says whether the pool is full."""


def assemble(
    config: Config,
    wiring: Wiring,
    *,
    allow_experimental: bool = False,
    lenient: bool = False,
    catalog: Catalog | None = None,
) -> Assembly:
    """Create and connect every plugin. Raises ConfigError.

    Lenient: unknown keys of parameters are logged and dropped.
    """
    made = Made(config, wiring, catalog or installed(), allow_experimental, lenient or config.lenient)
    made.create_declared()
    # Of what is declared, before more producers are added.
    match = facts.prefix_match(made)
    scheduler = profiles.scheduler(made)
    parsers = tuple(_parsers(made))
    feeds = tuple(_feeds(made))
    discovery = _discovery(made)
    # After the profiles: a detector that nobody declared is no filter of theirs.
    detector = saturation.detector(made)
    charge = facts.charge(made)
    facts.supply(made)
    saturation.connect(made)
    _warn_of_what_is_ignored(config)
    producers = facts.ordered(made)
    return Assembly(made.instances, scheduler, producers, parsers, feeds, discovery, charge, match, detector)


def _parsers(made: Made) -> Iterator[Parser]:
    wanted = made.config.parsers or tuple(Reference(plugin_ref=name) for name in DEFAULT_PARSERS)
    for position, reference in enumerate(wanted):
        name = reference.plugin_ref
        if name not in made.instances and made.knows(name):
            made.ensure(name)
        where = f"requestHandler.parsers[{position}]"
        yield made.expected(name, Parser, "a parser", where=where)  # type: ignore[type-abstract]


def _feeds(made: Made) -> Iterator[Feed]:
    layer = made.config.data_layer
    types: set[str] = set()
    for position, block in enumerate(layer.sources):
        where = f"dataLayer.sources[{position}]"
        source = made.expected(block.plugin_ref, Source, "a data source", where=where)  # type: ignore[type-abstract]
        types.add(source.type)
        yield Feed(source, _extractors(made, block.extractors, where))
    # By type: under another name the source of the metrics is no other, and two would read each page twice.
    if layer.inject_defaults and MetricsSource.type not in types:
        yield _default_feed(made)
    elif not types and not made.of(TopologyExtractor):
        raise made.wrong(
            "data layer enabled but no data sources configured; name one in dataLayer.sources or leave "
            "injectDefaults on",
            at="dataLayer.injectDefaults",
        )


def _default_feed(made: Made) -> Feed:
    for plugin_type in (MetricsSource.type, CoreMetricsExtractor.type):
        made.ensure(plugin_type)
    source = made.expected(MetricsSource.type, MetricsSource, "a data source", where="dataLayer")
    return Feed(source, _extractors(made, [Reference(plugin_ref=CoreMetricsExtractor.type)], "dataLayer"))


def _extractors(made: Made, references: Sequence[Reference], where: str) -> tuple[Extractor, ...]:
    found: dict[str, Extractor] = {}
    for position, reference in enumerate(references):
        place = f"{where}.extractors[{position}]"
        extractor = made.expected(reference.plugin_ref, Extractor, "an extractor", where=place)  # type: ignore[type-abstract]
        if extractor.type in found:
            raise made.wrong(f"{place}: a second extractor of the type {extractor.type}; keep one", at=place)
        found[extractor.type] = extractor
    if not found:
        log.warning("%s: %s has no extractors, so nothing reads its pages", made.config.at(where), where)
    return tuple(found.values())


def _discovery(made: Made) -> FileDiscovery | None:
    reference = made.config.data_layer.discovery
    if reference is None:
        return None
    where = "dataLayer.discovery"
    return made.expected(reference.plugin_ref, FileDiscovery, "a discovery plugin", where=where)


def _warn_of_what_is_ignored(config: Config) -> None:
    ignored = msgspec.structs.replace(config.flow_control, saturation_detector=None)
    if ignored != FlowControl() or config.gates["flowControl"]:
        log.warning(
            "%s: flow control is not in this version; flowControl is ignored, but for its saturationDetector",
            config.at("flowControl"),
        )
    if config.data_layer.peer_discovery or config.data_layer.cross_replica_syncer_plugin_ref:
        log.warning(
            "%s: several pickers do not share their state in this version; dataLayer.peerDiscovery and "
            "crossReplicaSyncer… are ignored",
            config.at("dataLayer"),
        )
