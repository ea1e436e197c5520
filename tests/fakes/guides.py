"""Configurations as guides of the field have them, in our own words, and what each amounts to.

A weight of None marks what is no scorer. Where a type is missing yet, the tests ask for that answer instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Wiring = Mapping[str, Mapping[str, float | None]]
"""Profile → plugin → weight, in any order."""

OLD: Final = "inference.networking.x-k8s.io/v1alpha1"
NEW: Final = "llm-d.ai/v1"
TODAY: Final = "llm-d.ai/v1alpha1"


@dataclass(frozen=True)
class Guide:
    """One configuration."""

    body: str
    wiring: Wiring
    version: str = TODAY
    refused: str = ""
    """What the answer says of a mistake that the guide has."""
    parameters: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Plugin → some of its parameters, as they come out."""

    @property
    def text(self) -> str:
        return f"apiVersion: {self.version}\nkind: EndpointPickerConfig\n{self.body}"


DEFAULT: Final[Wiring] = {
    "default": {
        "queue-scorer": 2.0,
        "kv-cache-utilization-scorer": 2.0,
        "prefix-cache-scorer": 3.0,
        "max-score-picker": None,
    }
}
TOKENS: Final = "- {type: token-producer, parameters: {modelName: m, vllm: {url: 'http://localhost:8000'}}}"


GUIDES: Final[Mapping[str, Guide]] = {
    "baseline of 2025": Guide(
        """
plugins: [{type: queue-scorer}, {type: kv-cache-utilization-scorer}, {type: prefix-cache-scorer}]
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
""",
        DEFAULT,
        OLD,
    ),
    "baseline": Guide(
        """
plugins:
- {type: approx-prefix-cache-producer, parameters: {maxPrefixTokensToMatch: 40960}}
- type: inflight-load-producer
- {type: prefix-cache-affinity-filter, parameters: {affinityThreshold: 0.80}}
- type: token-load-scorer
""",
        {
            "default": {
                "prefix-cache-affinity-filter": None,
                "token-load-scorer": 1.0,
                "max-score-picker": None,
            }
        },
        parameters={"approx-prefix-cache-producer": {"maxPrefixTokensToMatch": 40960}},
    ),
    "baseline with a key that nobody reads": Guide(
        """
plugins:
- {type: prefix-cache-affinity-filter, parameters: {maxTokensInFlightPenalty: 286720, maxTTFTPenaltyMs: 0}}
- type: token-load-scorer
""",
        {},
        refused='unknown key "parameters.maxTokensInFlightPenalty"',
    ),
    "baseline of another engine": Guide(
        """
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: no-hit-lru-scorer
- {type: metrics-data-source, parameters: {path: /prometheus/metrics}}
- {type: core-metrics-extractor, parameters: {defaultEngine: trtllm-serve}}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: no-hit-lru-scorer, weight: 2}
""",
        {"default": {**DEFAULT["default"], "no-hit-lru-scorer": 2.0}},
        NEW,
        parameters={
            "metrics-data-source": {"path": "/prometheus/metrics"},
            "core-metrics-extractor": {"defaultEngine": "trtllm-serve"},
        },
    ),
    "precise prefixes": Guide(
        f"""
plugins:
{TOKENS}
- type: endpoint-notification-source
- type: precise-prefix-cache-producer
  parameters:
    tokenProcessorConfig: {{blockSizeTokens: 64}}
    speculativeIndexing: true
    kvEventsConfig: {{concurrency: 8, podDiscoveryConfig: {{socketPort: 5556}}}}
- type: inflight-load-producer
  parameters: {{prefixMatchInfoProducerName: precise-prefix-cache-producer}}
- type: prefix-cache-affinity-filter
  parameters: {{prefixMatchInfoProducerName: precise-prefix-cache-producer, peakPrefillThroughput: 15926}}
- type: token-load-scorer
""",
        {},
    ),
    "precise prefixes of another engine": Guide(
        f"""
plugins:
{TOKENS}
- type: precise-prefix-cache-producer
  parameters:
    tokenProcessorConfig: {{blockSizeTokens: 64, hashAlgorithm: xxh64}}
    kvEventsConfig: {{engineType: sglang}}
- type: token-load-scorer
""",
        {},
    ),
    "precise prefixes, older": Guide(
        f"""
plugins:
{TOKENS}
- {{type: precise-prefix-cache-producer, parameters: {{tokenProcessorConfig: {{blockSize: 128}}}}}}
- type: kv-cache-utilization-scorer
- type: queue-scorer
- type: prefix-cache-scorer
  parameters: {{prefixMatchInfoProducerName: precise-prefix-cache-producer}}
- type: no-hit-lru-scorer
""",
        {},
    ),
    "a scorer that is not in the tree": Guide(
        "plugins: [{type: lmetric-scorer}]", {}, refused="plugin type 'lmetric-scorer' is not registered"
    ),
    "prefill and decode": Guide(
        """
plugins:
- type: disagg-profile-handler
  parameters: {deciders: {prefill: always-disagg-pd-decider}}
- type: always-disagg-pd-decider
- type: prefill-filter
- type: decode-filter
- {type: prefix-cache-affinity-filter, parameters: {peakPrefillThroughput: 33821}}
- type: token-load-scorer
- type: active-request-scorer
schedulingProfiles:
- name: prefill
  plugins:
  - {pluginRef: prefill-filter}
  - {pluginRef: prefix-cache-affinity-filter}
  - {pluginRef: token-load-scorer}
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: active-request-scorer}]
""",
        {
            "prefill": {
                "prefill-filter": None,
                "prefix-cache-affinity-filter": None,
                "token-load-scorer": 1.0,
                "max-score-picker": None,
            },
            "decode": {"decode-filter": None, "active-request-scorer": 1.0, "max-score-picker": None},
        },
        NEW,
        parameters={"disagg-profile-handler": {"disaggregation": "sidecar", "stageOrder": "decode-first"}},
    ),
    "prefill and decode with tiers": Guide(
        """
plugins:
- {type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider}}}
- type: always-disagg-pd-decider
- type: precise-prefix-cache-producer
  parameters:
    indexerConfig:
      kvBlockIndexConfig: {inMemoryConfig: {podCacheSize: 20}}
      kvCacheBackendConfigs: [{name: gpu, weight: 1.0}, {name: cpu, weight: 0.4}]
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: active-request-scorer
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: queue-scorer, weight: 2}, {pluginRef: kv-cache-utilization-scorer, weight: 2}]
- name: decode
  plugins: [{pluginRef: active-request-scorer, weight: 2}]
""",
        {},
    ),
    "roll-out with a key that nobody reads": Guide(
        """
plugins:
- type: disaggregatedset-rollout-screener
  parameters:
    scope: {labelSelector: app=x}
    revisionGating: {mode: sum, requiredRoles: [prefill, decode]}
- type: queue-scorer
""",
        {},
        refused='unknown key "parameters.revisionGating.requiredRoles"; did you mean "requireRoles"?',
    ),
    "roll-out": Guide(
        """
plugins:
- type: disaggregatedset-rollout-screener
  parameters:
    scope: {labelSelector: app=x}
    revisionGating: {mode: sum, requireRoles: {values: [prefill, decode]}}
- type: prefix-cache-scorer
- type: queue-scorer
- type: active-request-scorer
schedulingProfiles:
- name: prefill
  plugins:
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: active-request-scorer, weight: 2}
""",
        {
            "prefill": {
                "prefix-cache-scorer": 3.0,
                "queue-scorer": 2.0,
                "active-request-scorer": 2.0,
                "max-score-picker": None,
            }
        },
    ),
    "wide, with a decider by its flat name": Guide(
        """
plugins:
- {type: disagg-profile-handler, parameters: {deciderPluginName: always-disagg-pd-decider}}
- type: always-disagg-pd-decider
- type: prefix-cache-scorer
- type: queue-scorer
- type: active-request-scorer
schedulingProfiles:
- name: prefill
  plugins:
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: active-request-scorer, weight: 2}
- {name: decode, plugins: [{pluginRef: active-request-scorer}]}
""",
        {
            "prefill": {
                "prefix-cache-scorer": 3.0,
                "queue-scorer": 2.0,
                "active-request-scorer": 2.0,
                "max-score-picker": None,
            },
            "decode": {"active-request-scorer": 1.0, "max-score-picker": None},
        },
        parameters={
            "disagg-profile-handler": {
                "deciders": {"prefill": "always-disagg-pd-decider", "encode": ""},
                "deciderPluginName": None,
            }
        },
    ),
    "long contexts, prefill and decode": Guide(
        """
plugins:
- {type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider}}}
- type: always-disagg-pd-decider
- type: prefill-filter
- type: decode-filter
- {type: context-length-aware, parameters: {enableFiltering: true}}
schedulingProfiles:
- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: context-length-aware, weight: 2}]}
- {name: decode, plugins: [{pluginRef: decode-filter}, {pluginRef: context-length-aware, weight: 2}]}
""",
        {
            stage: {f"{stage}-filter": None, "context-length-aware": 2.0, "max-score-picker": None}
            for stage in ("prefill", "decode")
        },
    ),
    "roles by another label": Guide(
        """
plugins:
- type: label-selector-filter
  name: encoders
  parameters: {matchLabels: {role: encode}}
- {type: label-selector-filter, name: prefillers, parameters: {matchLabels: {role: prefill}}}
- {type: label-selector-filter, name: decoders, parameters: {matchLabels: {role: decode}}}
- type: approx-prefix-cache-producer
  parameters: {autoTune: false, blockSizeTokens: 5, maxPrefixTokensToMatch: 1280}
- type: prefix-cache-scorer
- type: always-disagg-multimodal-decider
- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: 8, promptTokens: 0}}
- type: disagg-profile-handler
  parameters: {deciders: {prefill: prefix-based-pd-decider, encode: always-disagg-multimodal-decider}}
schedulingProfiles:
- {name: encode, plugins: [{pluginRef: encoders}]}
- {name: prefill, plugins: [{pluginRef: prefillers}, {pluginRef: prefix-cache-scorer}]}
- {name: decode, plugins: [{pluginRef: decoders}, {pluginRef: prefix-cache-scorer}]}
""",
        {
            "encode": {"encoders": None, "max-score-picker": None},
            "prefill": {"prefillers": None, "prefix-cache-scorer": 1.0, "max-score-picker": None},
            "decode": {"decoders": None, "prefix-cache-scorer": 1.0, "max-score-picker": None},
        },
        parameters={
            "prefix-based-pd-decider": {
                "nonCachedTokens": 8,
                "prefixMatchInfoProducerName": "approx-prefix-cache-producer",
            }
        },
    ),
    "two stages as they were": Guide(
        """
plugins:
- {type: pd-profile-handler, parameters: {primaryPort: 8000, prefixPluginType: prefix-cache-scorer}}
- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: 16}}
- type: prefill-header-handler
- type: prefill-filter
- type: decode-filter
schedulingProfiles:
- {name: prefill, plugins: [{pluginRef: prefill-filter}]}
- {name: decode, plugins: [{pluginRef: decode-filter}]}
""",
        {stage: {f"{stage}-filter": None, "max-score-picker": None} for stage in ("prefill", "decode")},
        OLD,
        parameters={
            "pd-profile-handler": {"deciderPluginName": "prefix-based-pd-decider", "primaryPort": 8000},
            "disagg-headers-handler": {"prefillProfile": "prefill", "encodeProfile": "encode"},
        },
    ),
    "wide, with precise prefixes": Guide(
        """
plugins:
- type: precise-prefix-cache-producer
  parameters: {indexerConfig: {kvBlockIndexConfig: {inMemoryConfig: {podCacheSize: 128}}}}
- {type: prefix-cache-affinity-filter, parameters: {peakPrefillThroughput: 3585}}
""",
        {},
        NEW,
    ),
    "two tiers of guesses": Guide(
        """
plugins:
- {type: approx-prefix-cache-producer, name: gpu-producer}
- {type: approx-prefix-cache-producer, name: cpu-producer, parameters: {autoTune: false, blockSizeTokens: 64}}
- {type: prefix-cache-scorer, name: gpu, parameters: {prefixMatchInfoProducerName: gpu-producer}}
- {type: prefix-cache-scorer, name: cpu, parameters: {prefixMatchInfoProducerName: cpu-producer}}
- type: queue-scorer
""",
        {"default": {"gpu": 1.0, "cpu": 1.0, "queue-scorer": 1.0, "max-score-picker": None}},
        parameters={"cpu": {"prefixMatchInfoProducerName": "cpu-producer"}},
    ),
    "predicted latency": Guide(
        """
plugins:
- {type: approx-prefix-cache-producer, parameters: {maxPrefixTokensToMatch: 262144}}
- {type: predicted-latency-producer, parameters: {streamingMode: true}}
- {type: prefix-cache-affinity-filter, name: strict, parameters: {affinityThreshold: 0.99}}
- type: slo-headroom-tier-filter
- {type: prefix-cache-affinity-filter, name: loose, parameters: {affinityThreshold: 0.8}}
- type: latency-scorer
- type: weighted-random-picker
""",
        {},
    ),
    "flow control": Guide(
        """
featureGates: [flowControl]
plugins:
- {type: concurrency-detector, parameters: {maxConcurrency: 132}}
- type: queue-scorer
schedulingProfiles:
- name: default
  plugins: [{pluginRef: queue-scorer}]
flowControl:
  saturationDetector: {pluginRef: concurrency-detector}
  maxBytes: 10Gi
  maxRequests: 1k
  defaultRequestTTL: 60s
  priorityBands: [{priority: 100}, {priority: 0}, {priority: -10, maxBytes: 1Gi, maxRequests: 100}]
""",
        {"default": {"queue-scorer": 1.0, "max-score-picker": None}},
        NEW,
        parameters={"concurrency-detector": {"maxConcurrency": 132}},
    ),
    "peers": Guide(
        """
plugins:
- type: precise-prefix-cache-producer
- {type: p2p-source-producer, parameters: {minCachedTokenDelta: 2048}}
- type: queue-scorer
""",
        {},
    ),
    "media": Guide(
        """
plugins:
- {type: mm-embeddings-cache-producer, parameters: {cacheSizeInMBPerServer: 2048}}
- type: mm-embeddings-cache-scorer
- type: kv-cache-utilization-scorer
- type: queue-scorer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: mm-embeddings-cache-scorer, weight: 10}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: queue-scorer, weight: 2}
""",
        {
            "default": {
                "mm-embeddings-cache-scorer": 10.0,
                "kv-cache-utilization-scorer": 2.0,
                "queue-scorer": 2.0,
                "max-score-picker": None,
            }
        },
        parameters={"mm-embeddings-cache-producer": {"cacheSizeInMBPerServer": 2048}},
    ),
    "media with a key that nobody reads": Guide(
        "plugins: [{type: mm-embeddings-cache-producer, parameters: {cacheSizeInMB: 2048}}]",
        {},
        refused='unknown key "parameters.cacheSizeInMB"; did you mean "cacheSizeInMBPerServer"?',
    ),
    "long contexts": Guide(
        """
plugins:
- type: decode-filter
- {type: context-length-aware, parameters: {enableFiltering: true}}
- type: queue-scorer
schedulingProfiles:
- name: decode
  plugins:
  - {pluginRef: decode-filter}
  - {pluginRef: context-length-aware, weight: 2}
  - {pluginRef: queue-scorer}
""",
        {
            "decode": {
                "decode-filter": None,
                "context-length-aware": 2.0,
                "queue-scorer": 1.0,
                "max-score-picker": None,
            }
        },
        parameters={
            "context-length-aware": {"label": "llm-d.ai/context-length-range", "enableFiltering": True}
        },
    ),
    "agents": Guide(
        """
featureGates: [flowControl]
plugins: [{type: agent-identity}, {type: queue-scorer}]
flowControl: {defaultPriorityBand: {fairnessPolicyRef: round-robin-fairness-policy}}
""",
        {"default": {"queue-scorer": 1.0, "max-score-picker": None}},
    ),
    "one picker for each stage": Guide(
        """
plugins:
- type: header-profile-handler
- type: encode-filter
- type: prefill-filter
- type: decode-filter
- type: queue-scorer
schedulingProfiles:
- name: encode
  plugins: [{pluginRef: encode-filter}, {pluginRef: queue-scorer}]
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer}]
""",
        {
            stage: {f"{stage}-filter": None, "queue-scorer": 1.0, "max-score-picker": None}
            for stage in ("encode", "prefill", "decode")
        },
        parameters={"header-profile-handler": {"headerName": "EPP-Profile", "defaultProfile": "decode"}},
    ),
    "example A: everything is added": Guide(
        """
plugins: [{type: queue-scorer}, {type: prefix-cache-scorer}]
saturationDetector: {pluginRef: utilization-detector}
""",
        {"default": {"queue-scorer": 1.0, "prefix-cache-scorer": 1.0, "max-score-picker": None}},
        OLD,
    ),
    "example B: exact and guess": Guide(
        """
plugins:
- {type: endpoint-notification-source}
- {type: precise-prefix-cache-producer, name: kv, parameters: {tokenProcessorConfig: {blockSizeTokens: 16}}}
- {type: prefix-cache-scorer, name: exact, parameters: {prefixMatchInfoProducerName: kv}}
- {type: prefix-cache-scorer, name: guess}
- type: core-metrics-extractor
  parameters: {engineConfigs: [{name: acme, queuedRequestsSpec: 'acme:q{kind=wait}'}]}
schedulingProfiles:
- {name: default, plugins: [{pluginRef: exact, weight: 3}, {pluginRef: guess, weight: 0.5}]}
dataLayer:
  sources: [{pluginRef: endpoint-notification-source, extractors: [{pluginRef: kv}]}]
""",
        {},
    ),
    "example B with two guesses": Guide(
        """
plugins:
- {type: approx-prefix-cache-producer, name: kv, parameters: {blockSizeTokens: 16}}
- {type: prefix-cache-scorer, name: exact, parameters: {prefixMatchInfoProducerName: kv}}
- {type: prefix-cache-scorer, name: guess}
- type: core-metrics-extractor
  parameters: {engineConfigs: [{name: acme, queuedRequestsSpec: 'acme:q{kind=wait}'}]}
schedulingProfiles:
- {name: default, plugins: [{pluginRef: exact, weight: 3}, {pluginRef: guess, weight: 0.5}]}
""",
        {"default": {"exact": 3.0, "guess": 0.5, "max-score-picker": None}},
    ),
}

_PREFIX: Final = {"decode-filter": None, "prefix-cache-scorer": 2.0, "max-score-picker": None}
_STAGES: Final[Wiring] = {
    stage: {
        f"{stage}-filter": None,
        "prefix-cache-scorer": 2.0,
        "queue-scorer": 1.0,
        "max-score-picker": None,
    }
    for stage in ("prefill", "decode")
}
SAMPLES: Final[Mapping[str, Wiring]] = {
    "dp-epp-config": {"default": _PREFIX},
    "epp-burst-prefix-cache-config": {"default": {**_PREFIX, "load-aware-scorer": 1.0}},
    "epp-config": {"default": _PREFIX},
    "epp-estimate-prefix-cache-config": {
        "default": {**_PREFIX, "prefix-cache-scorer": 1.0, "load-aware-scorer": 1.0}
    },
    "epp-mm-embeddings-cache-config": {},
    "epp-precise-prefix-cache-config": {},
    "pd-epp-config": _STAGES,
    "pd-topology-epp-config": {
        **_STAGES,
        "prefill": {
            **_STAGES["prefill"],
            "topology-affinity-filter": None,
            "topology-affinity-scorer": 1.0,
        },
    },
    "probabilistic-admitter-epp-config": {"default": {"random-picker": None}},
    "sim-e-p-d-epp-config": {
        "encode": {"encode-filter": None, "max-score-picker": None},
        "prefill": {"prefill-filter": None, "queue-scorer": 1.0, "max-score-picker": None},
        "decode": {"decode-filter": None, "queue-scorer": 1.0, "max-score-picker": None},
    },
    "sim-e-pd-epp-config": {
        "encode": {"encode-filter": None, "max-score-picker": None},
        "decode": {"decode-filter": None, "max-score-picker": None},
    },
    "sim-epp-config": {"default": _PREFIX},
    "sim-epp-gpu-config": {
        "default": {
            "decode-filter": None,
            "gpu-utilization-filter": None,
            "gpu-utilization-scorer": 2.0,
            "kv-cache-utilization-scorer": 1.0,
            "max-score-picker": None,
        }
    },
    "sim-epp-kvcache-config": {},
    "sim-epp-no-hit-lru": {},
    "sim-epp-tokenizer-vllm-http-config": {},
    "sim-pd-epp-config": _STAGES,
    "sim-program-aware-config": {},
    "soft-reflective-ceiling-epp-config": {},
}
"""Sample file → what it amounts to; nothing: later work brings a plugin of it."""
