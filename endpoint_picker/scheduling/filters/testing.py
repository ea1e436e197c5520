"""The filter by which the conformance tests of gateways say where a request shall go."""

import re
from typing import Final

import numpy as np

from endpoint_picker.core.endpoints import Candidates, Mask
from endpoint_picker.core.request import Request
from endpoint_picker.plugin import Plugin

SELECTION: Final = "test-epp-endpoint-selection"
_BRACKETED: Final = re.compile(r"^\[([^]]+)\]$")


class HeaderBasedTesting(Plugin):
    """`header-based-testing-filter`: keeps the endpoints that the request's own header lists.

    `test-epp-endpoint-selection` holds a comma list of `IP` or `IP:port`, IPv6 with or without brackets.
    One endpoint stays for each IP, the first that the list names; without the header nobody stays.

    A filter answers a mask, so the order of the list goes no further than to that choice; a picker orders
    by totals, and equal totals at random, so it would not last in any case.
    """

    type = "header-based-testing-filter"

    def keep(self, request: Request, candidates: Candidates) -> Mask:
        rows = dict[str, int]()
        among = frozenset(candidates.rows.tolist())
        table = candidates.table
        for entry in request.headers.get(SELECTION, "").split(","):
            found = (row for row in table.rows_at(_BRACKETED.sub(r"\1", entry.strip())) if row in among)
            row = next(found, None)
            if row is not None:
                rows.setdefault(table[row].address, row)
        return np.isin(candidates.rows, list(rows.values()))
