"""What it means for a request that several endpoints, ranks of one pod, may share an address.

The data plane knows addresses only, and a request has one header for all its attempts.
"""

from collections.abc import Sequence

from endpoint_picker.core.endpoints import Endpoint, EndpointTable


def alternatives(endpoints: Sequence[Endpoint]) -> tuple[str, ...]:
    """Where a request for the first of them (at least one) may go: `ip:port`, in order, each once.

    The header that names a rank fits the first choice. Another address serves in its stead only if the
    header means the endpoint there as well: the same number may be none at all with another pod.
    """
    fields = endpoints[0].fields
    fitting = (each.host_port for each in endpoints if not fields or each.fields == fields)
    return tuple(dict.fromkeys(fitting))


def serving(table: EndpointTable, host_port: str, meant: Endpoint) -> int | None:
    """Row of who serves, at `ip:port`, a request that was sent out for `meant`; None: nobody we know.

    Of several ranks behind that port it is the one that the request's header names.
    """
    rows = table.rows_at(host_port)
    first = rows[0] if rows else None
    return next((row for row in rows if table[row].fields == meant.fields), first)
