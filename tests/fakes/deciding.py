"""Decisions without a scheduler: this row won, whatever the scores were."""

import numpy as np

from endpoint_picker.core.decision import Decision, ProfileResult
from endpoint_picker.core.endpoints import EndpointTable


def decided(table: EndpointTable, row: int, **others: int) -> Decision:
    """The profile `decode` picked this row and is the primary one; others (`prefill`, …) picked theirs."""
    results = {name: _result(table, name, where) for name, where in {"decode": row, **others}.items()}
    return Decision(results["decode"], results, prefill=results.get("prefill"), encode=results.get("encode"))


def _result(table: EndpointTable, profile: str, row: int) -> ProfileResult:
    return ProfileResult(profile, (row,), (table[row],), table.live, np.zeros(len(table)))
