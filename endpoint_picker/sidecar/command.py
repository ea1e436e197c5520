"""`endpoint-picker sidecar`: start, serve until a signal, drain."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

import uvloop

from endpoint_picker import aio
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.observability import logs
from endpoint_picker.sidecar import sources
from endpoint_picker.sidecar.options import Options
from endpoint_picker.sidecar.server import Sidecar

log = logging.getLogger(__name__)


def main() -> int:
    """The console script `endpoint-picker-sidecar`."""
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Serve until a signal; answers the exit code."""
    try:
        settings = sources.read(arguments, os.environ)
        logs.configure(settings.options.v, settings.options.zap_encoder)
        for warning in settings.warnings:
            log.warning("%s", warning)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings.options))
    except (ConfigError, OSError) as error:
        print(f"endpoint-picker sidecar: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(options: Options) -> None:
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, asked.put_nowait, each)
    sidecar = Sidecar(options)
    try:
        await sidecar.start()
        _tell(sidecar, options)
        why = await asked.get()
        log.info(
            "%s: draining for at most %g s, %d requests open", why.name, options.drain_timeout, sidecar.open()
        )
    finally:
        await _ended(sidecar, asked)
    log.info("stopped")


async def _ended(sidecar: Sidecar, asked: "asyncio.Queue[signal.Signals]") -> None:
    """Wait for open requests; a second signal cuts that short."""
    waiting = aio.Tasks()
    impatient = waiting.start("second signal", asked.get())
    ending = waiting.start("last requests", sidecar.stop())
    await asyncio.wait({ending, impatient}, return_when=asyncio.FIRST_COMPLETED)
    await waiting.close()


def _tell(sidecar: Sidecar, options: Options) -> None:
    first = options.model_server_port
    log.info(
        "serving %s on %s for the engine on %s, metrics on %d",
        "TLS" if options.secure_proxy else "HTTP",
        ",".join(map(str, sidecar.ports)),
        ",".join(str(first + rank) for rank in range(options.data_parallel_size)),
        sidecar.metrics_port,
    )
