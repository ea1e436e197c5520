"""For whoever writes a plugin: pools and requests to try it on, and the laws that every plugin keeps.

`check_plugin(YourScorer, weight=2)` draws dozens of pools and requests, with and without data, and
raises AssertionError with the plugin, the law and the smallest example that breaks it. The catalog passes
the same laws. What belongs here serves tests of plugins; nothing that serves requests imports it.

    pools      tables, candidates, requests with facts, made by hand
    cases      the same, drawn at random
    snapshot   what a call has changed
    laws       what is asked at each extension point
    kit        runs the laws that fit a class
"""

try:
    import hypothesis as _  # noqa: F401 the one package that only tests need
except ImportError as error:
    raise ImportError(
        "endpoint_picker.testing draws its examples with hypothesis; "
        "it comes with: pip install endpoint-picker[test]"
    ) from error

from endpoint_picker.testing.kit import check_plugin, roles
from endpoint_picker.testing.pools import (
    NOW,
    candidates_of,
    endpoint,
    make,
    request_with,
    table_of,
    wiring_of,
)

__all__ = [
    "check_plugin",
    "roles",
    "make",
    "endpoint",
    "table_of",
    "candidates_of",
    "request_with",
    "wiring_of",
    "NOW",
]
