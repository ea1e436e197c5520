"""What a configuration makes run, and how another one takes its place.

A changed file is validated whole and built beside what runs. Then, between two requests, the director is
given the new parts; what plugins have learned moves to those of the same name and class, and the ledger, the
table and the metrics stay as they are. Whatever is wrong with the new file, the old configuration stays.
"""

import asyncio
import logging
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from endpoint_picker import aio
from endpoint_picker.admission.shedding import Shedding
from endpoint_picker.assemble import Assembly, assemble
from endpoint_picker.config import load, schema
from endpoint_picker.core.endpoints import EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.core.ledger import Ledger
from endpoint_picker.datalayer.discovery import parse_endpoints_flag
from endpoint_picker.datalayer.scrape import Scraper
from endpoint_picker.director import Director, Parts
from endpoint_picker.exchange import Books
from endpoint_picker.inline_prefills import InlinePrefills
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.options import Options
from endpoint_picker.parsing.paths import Registry
from endpoint_picker.plugin import Wiring

log = logging.getLogger(__name__)

FIRST_SCRAPE_SECONDS: Final = 1.5
"""How long the start waits for the first reading of each replica: one scrape deadline and a little."""
LOOK_SECONDS: Final = 1.0
"""Between two looks at the configuration file."""
SETTLE_SECONDS: Final = 0.1
"""A file that is being written is taken once it has stayed the same for so long."""


class Running:
    """Table, metrics and director of one process, and the configuration that they run by."""

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        self.metrics = Metrics(pool=options.pool, clock=clock)
        self._options = options
        self._clock = clock
        self._rng = random.Random(options.seed)
        self._table = EndpointTable(stale_after=options.staleness)
        self._ledger = Ledger(self._table)
        self.metrics.watch(self._table)
        self._seen = self._content()
        self._assembly = self._assemble()
        self.director = Director(self._parts(self._assembly))
        self._scraper = self._scrapes()
        self.prefills = InlinePrefills(self._table, self.metrics, clock)
        self._tasks: aio.Tasks | None = None
        self._discovering: asyncio.Task[None] | None = None

    async def start(self, tasks: aio.Tasks) -> None:
        """Learn the members of the pool, and read each of them once. Raises ConfigError."""
        self._tasks = tasks
        self._fill(self._assembly)
        self._discover()
        log.info("%d endpoints", len(self._table))
        tasks.start("scraping", self._scraper.run())
        if self._options.config_file is not None:
            tasks.start("configuration", aio.repeat("reading the configuration", self._look))
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)
        await self._scraper.first_pass(FIRST_SCRAPE_SECONDS)

    async def close(self) -> None:
        """Stop talking to replicas."""
        await self.prefills.close()
        await self._scraper.close()

    def reload(self) -> bool:
        """Take the configuration file as it is now, if it is good; answers whether it is."""
        self._seen = self._content()
        try:
            self._change()
        except ConfigError as error:
            log.error("%s; the configuration stays as it was", error)
            self.metrics.config_reloaded(success=False)
            return False
        log.info("%s: the configuration was loaded anew", self._options.config_file)
        self.metrics.config_reloaded(success=True)
        return True

    # === building ===

    def _assemble(self) -> Assembly:
        """Everything of the configuration, not yet in use. Raises ConfigError."""
        options = self._options
        wiring = Wiring(self._table, self.metrics, self._rng, self._clock)
        if options.config_file is not None:
            config = load.load_file(options.config_file, lenient=options.lenient)
        elif options.config_text:
            config = load.load(options.config_text, lenient=options.lenient)
        else:
            config = schema.default()
        assembly = assemble(config, wiring, allow_experimental=options.allow_experimental)
        _check_members(options, assembly)
        return assembly

    def _parts(self, assembly: Assembly) -> Parts:
        books = Books(
            table=self._table,
            ledger=self._ledger,
            metrics=self.metrics,
            clock=self._clock,
            charge=assembly.charge,
            emit_scores=self._options.emit_scores,
            plugins=tuple(assembly.instances.values()),
        )
        return Parts(
            books=books,
            parsers=Registry(assembly.parsers),
            producers=assembly.producers,
            scheduler=assembly.scheduler,
            match=assembly.match,
            shedding=Shedding(assembly.detector),
            plugins=books.plugins,
            honour_subset=self._options.honour_subset,
        )

    def _scrapes(self) -> Scraper:
        return Scraper(
            self._table,
            self.metrics,
            self._assembly.feeds,
            clock=self._clock,
            rng=self._rng,
            interval=self._options.refresh_interval,
        )

    # === changing ===

    async def _look(self) -> float:
        """Load a file whose content has changed, and has settled since."""
        content = await asyncio.to_thread(self._content)
        if content == self._seen:
            return LOOK_SECONDS
        await asyncio.sleep(SETTLE_SECONDS)
        if content != self._seen and content == await asyncio.to_thread(self._content):
            self.reload()
        return LOOK_SECONDS

    def _content(self) -> bytes | None:
        """Of the file, whatever links lead to it; None where there is none, or it cannot be read."""
        path: Path | None = self._options.config_file
        try:
            return path.read_bytes() if path is not None else None
        except OSError:
            return None

    def _change(self) -> None:
        """Put what the file says in the place of what runs; raises ConfigError before it has begun to."""
        new, old = self._assemble(), self._assembly
        other_members = not _alike(new.discovery, old.discovery)
        if other_members:
            self._fill(new)  # the last thing that can fail
        for name, plugin in new.instances.items():
            before = old.instances.get(name)
            if before is not None and type(before) is type(plugin):
                plugin.adopt(before)
        self._assembly = new
        self.director.change(self._parts(new))
        self._scraper.change(new.feeds)
        if other_members:
            self._discover()

    def _fill(self, assembly: Assembly) -> None:
        """Learn the members of the pool. Raises ConfigError."""
        if assembly.discovery is None:
            self._table.replace(parse_endpoints_flag(self._options.endpoints))
        else:
            assembly.discovery.load()

    def _discover(self) -> None:
        """Follow the list of members of the configuration in force, and no other one."""
        assert self._tasks is not None
        if self._discovering is not None:
            self._discovering.cancel()
        discovery = self._assembly.discovery
        if discovery is None:
            self._discovering = None
        elif discovery.watching:
            watch = discovery.watch(self._scraper.membership_changed)
            self._discovering = self._tasks.start("discovery", watch)


def _check_members(options: Options, assembly: Assembly) -> None:
    """The members of the pool come from one place."""
    if assembly.discovery is None and not options.endpoints:
        raise ConfigError(
            "nobody to serve: name the replicas with --endpoints host:port,… or with the plugin "
            "file-discovery in dataLayer.discovery"
        )
    if assembly.discovery is not None and options.endpoints:
        raise ConfigError("--endpoints and dataLayer.discovery exclude each other: give one of them")


def _alike(one: object, other: object) -> bool:
    """Whether two plugins would do the same: nothing has to be begun anew then."""
    return type(one) is type(other) and getattr(one, "parameters", None) == getattr(other, "parameters", None)
