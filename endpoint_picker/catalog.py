"""The table of plugins: type string → class. Whoever looks for the code of a type finds it from here.

Packages add types of their own through the entry point group `endpoint_picker.plugins`; each entry is
named like the type of the class that it points to.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from endpoint_picker.admission import admitters, identity, reporting, saturation, screeners
from endpoint_picker.config import hints
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer.dcgm import DcgmExtractor
from endpoint_picker.datalayer.discovery import FileDiscovery, MulticlusterFileDiscovery
from endpoint_picker.datalayer.extract import CoreMetricsExtractor
from endpoint_picker.datalayer.models import ModelsExtractor
from endpoint_picker.datalayer.multicluster import MulticlusterExtractor
from endpoint_picker.datalayer.sources import (
    DcgmSource,
    MetricsSource,
    ModelsSource,
    MulticlusterMetricsSource,
)
from endpoint_picker.datalayer.topology import TopologyExtractor
from endpoint_picker.parsing.anthropic import Anthropic
from endpoint_picker.parsing.openai import OpenAI
from endpoint_picker.parsing.passthrough import Passthrough
from endpoint_picker.parsing.sglang import SGLangHttp
from endpoint_picker.parsing.vertexai import VertexAI
from endpoint_picker.parsing.vllm import VllmHttp
from endpoint_picker.parsing.vllm_grpc import VllmGrpc
from endpoint_picker.plugin import Plugin
from endpoint_picker.producers import (
    encoders,
    inflight,
    p2p_source,
    prefix_approx,
    prefix_burst,
    prefix_multicluster,
    session,
    tokens,
)
from endpoint_picker.scheduling import context_length, handler, pickers
from endpoint_picker.scheduling.disagg import announced, deciders
from endpoint_picker.scheduling.disagg import handlers as staged
from endpoint_picker.scheduling.filters import affinity, labels, roles, slo, testing, utilization
from endpoint_picker.scheduling.filters import attributes as attribute_filters
from endpoint_picker.scheduling.filters import session as session_filters
from endpoint_picker.scheduling.filters import topology as topology_filters
from endpoint_picker.scheduling.scorers import attributes as attribute_scorers
from endpoint_picker.scheduling.scorers import labels as label_scorers
from endpoint_picker.scheduling.scorers import (
    latency,
    load,
    lora,
    media,
    multicluster,
    no_hit_lru,
    prefix,
    work,
)
from endpoint_picker.scheduling.scorers import session as session_scorers
from endpoint_picker.scheduling.scorers import topology as topology_scorers

log = logging.getLogger(__name__)

GROUP: Final = "endpoint_picker.plugins"
"""Entry point group of plugins from other packages."""

TABLE: Final[Mapping[str, type[Plugin]]] = {
    # before the profile runs, and after the answer
    "agent-identity": identity.AgentIdentity,
    "disaggregatedset-rollout-screener": screeners.Rollout,
    "probabilistic-admitter": admitters.Probabilistic,
    "latency-slo-admitter": admitters.LatencySlo,
    "request-attribute-reporter": reporting.AttributeReporter,
    "destination-endpoint-served-verifier": reporting.ServedVerifier,
    # parsers
    "openai-parser": OpenAI,
    "anthropic-parser": Anthropic,
    "vllmhttp-parser": VllmHttp,
    "sglanghttp-parser": SGLangHttp,
    "vllmgrpc-parser": VllmGrpc,
    "vertexai-parser": VertexAI,
    "passthrough-parser": Passthrough,
    # producers
    "token-producer": tokens.TokenEstimate,
    "approx-prefix-cache-producer": prefix_approx.ApproximatePrefix,
    "burst-prefix-cache-producer": prefix_burst.BurstPrefix,
    "multicluster-approx-prefix-cache-producer": prefix_multicluster.MulticlusterPrefix,
    "mm-embeddings-cache-producer": encoders.EncoderCache,
    "inflight-load-producer": inflight.InFlight,
    "session-id-producer": session.SessionId,
    "p2p-source-producer": p2p_source.P2PSource,
    # filters
    "label-selector-filter": labels.LabelSelector,
    "by-label": labels.ByLabel,
    "decode-filter": roles.Decode,
    "prefill-filter": roles.Prefill,
    "encode-filter": roles.Encode,
    "endpoint-attribute-filter": attribute_filters.EndpointAttribute,
    "utilization-filter": utilization.Utilization,
    "topology-affinity-filter": topology_filters.TopologyAffinity,
    "session-affinity-filter": session_filters.SessionAffinity,
    "multicluster-session-affinity-filter": session_filters.MulticlusterSessionAffinity,
    "prefix-cache-affinity-filter": affinity.PrefixAffinity,
    "slo-headroom-tier-filter": slo.HeadroomTier,
    "header-based-testing-filter": testing.HeaderBasedTesting,
    # filter and scorer in one
    "context-length-aware": context_length.ContextLengthAware,
    # scorers
    "queue-scorer": load.Queue,
    "running-requests-size-scorer": load.Running,
    "kv-cache-utilization-scorer": load.KvUsage,
    "active-request-scorer": load.ActiveRequests,
    "token-load-scorer": load.TokenLoad,
    "prefix-cache-scorer": prefix.PrefixCache,
    "no-hit-lru-scorer": no_hit_lru.NoHitLru,
    "prefill-work-scorer": work.PrefillWork,
    "mm-embeddings-cache-scorer": media.EncodedMedia,
    "latency-scorer": latency.Latency,
    "lora-affinity-scorer": lora.LoraAffinity,
    "load-aware-scorer": load.LoadAware,
    "session-affinity-scorer": session_scorers.SessionAffinity,
    "header-label-affinity-scorer": label_scorers.HeaderLabelAffinity,
    "endpoint-attribute-scorer": attribute_scorers.EndpointAttribute,
    "topology-affinity-scorer": topology_scorers.TopologyAffinity,
    "multicluster-queue-scorer": multicluster.Queue,
    "multicluster-kv-cache-utilization-scorer": multicluster.KvUsage,
    "multicluster-prefix-cache-scorer": prefix.MulticlusterPrefixCache,
    # saturation detectors, filters as well
    "utilization-detector": saturation.Utilization,
    "concurrency-detector": saturation.Concurrency,
    # pickers
    "max-score-picker": pickers.MaxScore,
    "random-picker": pickers.Uniform,
    "weighted-random-picker": pickers.Weighted,
    # profile handlers
    "single-profile-handler": handler.Single,
    "header-profile-handler": handler.ByHeader,
    "data-parallel-profile-handler": handler.DataParallel,
    "disagg-profile-handler": staged.DisaggProfiles,
    "pd-profile-handler": staged.PrefillDecode,
    # which stages a request has
    "always-disagg-pd-decider": deciders.Always,
    "prefix-based-pd-decider": deciders.ByPrefix,
    "always-disagg-multimodal-decider": deciders.WithMedia,
    "disagg-headers-handler": announced.DisaggHeaders,
    # data layer
    "metrics-data-source": MetricsSource,
    "core-metrics-extractor": CoreMetricsExtractor,
    "models-data-source": ModelsSource,
    "models-data-extractor": ModelsExtractor,
    "dcgm-data-source": DcgmSource,
    "dcgm-extractor": DcgmExtractor,
    "multicluster-metrics-data-source": MulticlusterMetricsSource,
    "multicluster-metrics-extractor": MulticlusterExtractor,
    "topology-extractor": TopologyExtractor,
    "file-discovery": FileDiscovery,
    "multicluster-file-discovery": MulticlusterFileDiscovery,
}

ALIASES: Final[Mapping[str, str]] = {
    "by-label-selector": "label-selector-filter",
    "prefill-header-handler": "disagg-headers-handler",
    "tokenizer": "token-producer",
}
"""Deprecated name of a type → its name of today."""

DEPRECATED: Final[Mapping[str, str]] = {
    **ALIASES,
    "by-label": "label-selector-filter",
    "data-parallel-profile-handler": "single-profile-handler, and list each rank as an endpoint",
    "pd-profile-handler": "disagg-profile-handler",
    "disagg-headers-handler": "disagg-profile-handler",
    "prefill-header-handler": "disagg-profile-handler",
}
"""Type that still works → what to write instead."""

RENAMED: Final[Mapping[str, str]] = {"active-request-filter": "utilization-filter"}
"""Type of the past that works no more, and that resembles another one → what took its place."""

_LATER: Final = """
    precise-prefix-cache-scorer
    precise-prefix-cache-producer
    predicted-latency-producer
    global-strict-fairness-policy round-robin-fairness-policy program-aware-fairness
    fcfs-ordering-policy edf-ordering-policy slo-deadline-ordering-policy static-usage-limit-policy
    priority-holdback-policy soft-reflective-ceiling-policy sheddable-eviction-filter
    priority-then-time-eviction-order-policy
    k8s-notification-source endpoint-notification-source
"""
LATER: Final = frozenset(_LATER.split())
"""Types that the field knows and this version does not have."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every plugin type that can be configured."""

    classes: Mapping[str, type[Plugin]]

    def find(self, plugin_type: str, where: str, *, allow_experimental: bool = False) -> type[Plugin]:
        """The class of a type. Raises ConfigError, which begins with `where`, when it may not be used."""
        if plugin_type in DEPRECATED:
            log.warning("%s: type %s is deprecated; write %s", where, plugin_type, DEPRECATED[plugin_type])
        found = self.named(plugin_type, where)
        if found.stability == "alpha" and not allow_experimental:
            raise ConfigError(
                f"{where}: type {plugin_type} has Alpha stability level; "
                "allow it with --allow-experimental-plugins"
            )
        return found

    def named(self, plugin_type: str, where: str) -> type[Plugin]:
        """The same, whether it may be used or not."""
        found = self.classes.get(ALIASES.get(plugin_type, plugin_type))
        if found is None:
            raise ConfigError(f"{where}: {self._why_not(plugin_type)}")
        return found

    def _why_not(self, plugin_type: str) -> str:
        if plugin_type in RENAMED:
            return f"plugin type '{plugin_type}' is not registered; write {RENAMED[plugin_type]}"
        if plugin_type in LATER:
            return (
                f"plugin type '{plugin_type}' is not in this version; remove the plugin and what refers to it"
            )
        return hints.with_hint(
            f"plugin type '{plugin_type}' is not registered", plugin_type, [*self.classes, *ALIASES]
        )


def installed(entries: Iterable[metadata.EntryPoint] | None = None) -> Catalog:
    """The table, with the types that installed packages add. Raises ConfigError for a wrong entry."""
    classes = dict(TABLE)
    for entry in metadata.entry_points(group=GROUP) if entries is None else entries:
        if entry.name in classes or entry.name in ALIASES:
            raise ConfigError(f"{_origin(entry)}: there is a plugin type of that name already; rename it")
        classes[entry.name] = _loaded(entry)
    return Catalog(classes)


def _loaded(entry: metadata.EntryPoint) -> type[Plugin]:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{_origin(entry)}: {entry.value} cannot be imported: {error}") from error
    if not isinstance(found, type) or not issubclass(found, Plugin):
        raise ConfigError(f"{_origin(entry)}: {entry.value} is not a class that derives from Plugin")
    if found.type != entry.name:
        raise ConfigError(
            f"{_origin(entry)}: {entry.value} has the type {found.type}; give both the same name"
        )
    return found


def _origin(entry: metadata.EntryPoint) -> str:
    package = f" of the package {entry.dist.name}" if entry.dist else ""
    return f"entry point {entry.name}{package}"
