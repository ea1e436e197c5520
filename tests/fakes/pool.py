"""Pools and requests for tests of deciding code; they ship with the package, for tests of other plugins."""

from endpoint_picker.testing.pools import (
    NOW,
    candidates_of,
    endpoint,
    request_with,
    table_of,
    wiring_of,
)

__all__ = ["NOW", "candidates_of", "endpoint", "request_with", "table_of", "wiring_of"]
