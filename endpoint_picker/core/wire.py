"""Names on the wire: headers, metadata namespaces and their keys, in one place.

Header names are lower case, as Envoy sends them.
"""

from typing import Final

# === destination: picker → data plane ===

DESTINATION: Final = "x-gateway-destination-endpoint"
"""Header and metadata key of the pick: `ip:port`, or an ordered comma list of them."""
DESTINATION_NAMESPACE: Final = "envoy.lb"
"""Dynamic metadata namespace of the pick, and of the served endpoint on the way back."""
SCORES: Final = "x-gateway-destination-endpoint-scores"
"""Metadata key of the total of each scored endpoint (only with `--emit-endpoint-scores`)."""

# === what the data plane tells ===

SUBSET_NAMESPACE: Final = "envoy.lb.subset_hint"
SUBSET: Final = "x-gateway-destination-endpoint-subset"
"""Metadata key of the only endpoints that may be picked: a list, or a comma string, of `ip[:port]`."""
SERVED: Final = "x-gateway-destination-endpoint-served"
"""Metadata key of the endpoint that served the request in the end."""

# === request headers that are read; each new name first, then its old alias ===

OBJECTIVE: Final = ("x-llm-d-inference-objective", "x-gateway-inference-objective")
FAIRNESS_ID: Final = ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id")
MODEL_REWRITE: Final = ("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite")
REQUEST_ID: Final = "x-request-id"
PREFER: Final = "prefer"
"""Of its preferences (RFC 7240), `if-available` asks for what is cached only."""
PATHS: Final = (":path", "x-original-path", "x-forwarded-path")
"""Where the request path is looked for, in this order."""
DEFAULT_PATH: Final = "/v1/completions"
DEFAULT_FAIRNESS_ID: Final = "default-flow"

# === request headers that are set for the engine, and that a client may set where we do not ===

DATA_PARALLEL_RANK: Final = "x-data-parallel-rank"
"""Which of the ranks behind one port computes the request, counted from 0 at that port."""

# === what is written on answers ===

WENT_THROUGH: Final = "x-went-into-resp-headers"
DROPPED_REASON: Final = "x-llm-d-request-dropped-reason"

# === what belongs to one connection, and goes no further (RFC 9110, 7.6.1) ===

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# === control headers that only the picker may set ===

PREFILLER: Final = "x-prefiller-host-port"
ENCODERS: Final = "x-encoder-hosts-ports"
DATA_PARALLEL: Final = "x-data-parallel-host-port"
KV_SOURCE: Final = "x-kv-cache-source-host-port"

CONTROL_HEADERS: Final = frozenset(
    {DESTINATION, SUBSET, SERVED, DROPPED_REASON, PREFILLER, ENCODERS, DATA_PARALLEL, KV_SOURCE}
)
"""A client that sets one of these could steer the data plane or the sidecar, so they are removed."""
