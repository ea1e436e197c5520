"""Filters for the parts of a request that different endpoints do: encode media, prefill, decode."""

from typing import ClassVar, Final

from endpoint_picker.core.labels import Labels
from endpoint_picker.scheduling.filters.labels import ByLabels

ROLE: Final = "llm-d.ai/role"
"""Label that says which part of a request an endpoint does."""


class _ByRole(ByLabels):
    """Keeps the endpoints with one of some roles."""

    roles: ClassVar[frozenset[str]]
    without_role: ClassVar[bool] = False
    """Whether an endpoint that names no role stays."""

    def matches(self, labels: Labels) -> bool:
        role = labels.get(ROLE)
        return self.without_role if role is None else role in self.roles


class Decode(_ByRole):
    """`decode-filter`: keeps the endpoints that decode, and those that name no role."""

    type = "decode-filter"
    roles = frozenset({"decode", "prefill-decode", "both", "encode-prefill-decode"})
    without_role = True


class Prefill(_ByRole):
    """`prefill-filter`: keeps the endpoints that prefill."""

    type = "prefill-filter"
    roles = frozenset({"prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"})


class Encode(_ByRole):
    """`encode-filter`: keeps the endpoints that encode media."""

    type = "encode-filter"
    roles = frozenset({"encode", "encode-prefill", "encode-prefill-decode"})
