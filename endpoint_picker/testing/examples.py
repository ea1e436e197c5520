"""Parameters of the catalog's types that cannot do without, as in a configuration file: to try them with."""

from collections.abc import Mapping
from typing import Any, Final

PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "by-label": {"label": "zone", "validValues": ["a", "b"]},
    "disaggregatedset-rollout-screener": {
        "scope": {"labelSelector": "a=b"},
        "revisionGating": {"mode": "sum", "requireRoles": {"values": ["prefill", "decode"]}},
    },
    "endpoint-attribute-filter": {
        "attribute": "a",
        "algorithm": {"type": "threshold", "threshold": {"operator": "LessThan", "value": 1}},
    },
    "endpoint-attribute-scorer": {"attributeKey": "a", "algorithm": {"type": "linear_lower_is_better"}},
    "file-discovery": {"path": "endpoints.yaml"},
    "header-label-affinity-scorer": {"headerName": "x-zone", "labelKey": "zone"},
    "label-selector-filter": {"matchLabels": {"zone": "a"}},
    "multicluster-file-discovery": {"path": "endpoints.yaml"},
    "request-attribute-reporter": {
        "attributes": [{"key": {"name": "tokens"}, "expression": "usage.prompt_tokens"}]
    },
    "session-id-producer": {"headerName": "x-session"},
    "utilization-filter": {"conditions": [{"metric": "waiting-queue", "maxValue": 5}]},
}
"""Type → parameters."""
