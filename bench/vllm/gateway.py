"""Envoy in front of the real engines, with the picker or with round robin."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Literal

from bench import envoys
from bench.ground import Stack, folder_of

Side = Literal["round_robin", "picker"]
SIDES: Final[dict[Side, str]] = {"round_robin": "round robin", "picker": "picker"}

KEEPALIVE: Final = "--keepalive-time=120s"
"""For the picker, which may not be let run for a while, as Envoy may not."""


def patient(config: envoys.Config) -> envoys.Config:
    """The same file, for a machine on which two engines may keep everybody from running for a while."""
    for options in envoys.cluster(config, "ext_proc")["typed_extension_protocol_options"].values():
        http2 = options["explicit_http_config"]["http2_protocol_options"]
        http2["connection_keepalive"] = {"interval": "60s", "timeout": "60s"}
    return config


@contextlib.asynccontextmanager
async def gateway(
    side: Side, folder: Path, name: str, places: Sequence[str], config_file: Path | None = None
) -> AsyncIterator[Stack]:
    """In front of these replicas (`ip:port`); logs go to a folder of this name there. The picker has what it
    has without a configuration, or the one in the file."""
    async with folder_of(folder, name) as programs:
        if side == "round_robin":
            yield Stack(await programs.envoy(envoys.round_robin(places)), tuple(places), None)
            return
        told = () if config_file is None else (f"--config-file={config_file}",)
        picker = await programs.picker(places, KEEPALIVE, *told)
        config = envoys.relocated(patient(envoys.load("standalone")), picker.grpc_port, places)
        metrics = f"http://127.0.0.1:{picker.metrics_port}/metrics"
        yield Stack(await programs.envoy(config), tuple(places), metrics, tuple(programs.pids))
