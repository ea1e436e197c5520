"""A whole picker short of its sockets and its scraping: the default configuration over some endpoints."""

import random
import time

from bench.micro.schedule import fill
from endpoint_picker.assemble import assemble
from endpoint_picker.config import schema
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.director import Director, Parts
from endpoint_picker.exchange import Books
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.parsing.paths import Registry
from endpoint_picker.plugin import Wiring


def director(endpoints: int) -> Director:
    """Routes requests over a pool with readings that do not turn stale."""
    table = EndpointTable(stale_after=float("inf"))
    metrics = Metrics(clock=time.monotonic)
    metrics.watch(table)
    assembly = assemble(schema.default(), Wiring(table, metrics, random.Random(1), time.monotonic))
    fill(table, endpoints)
    books = Books(table, Ledger(table), metrics, time.monotonic, assembly.charge)
    return Director(Parts(books, Registry(assembly.parsers), assembly.producers, assembly.scheduler))
