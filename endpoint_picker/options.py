"""What the command line says, as one record; `cli` fills it, the composition root reads it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; sizes in bytes, times in seconds."""

    config_file: Path | None = None
    config_text: str = ""
    """Used where there is no file; with neither, the default configuration runs."""
    endpoints: str = ""
    pool: str = "epp"
    transport: str = "http2"
    grpc_port: int = 9002
    health_port: int = 9003
    metrics_port: int = 9090
    secure: bool = True
    cert_path: Path | None = None
    cert_reload: bool = False
    health_on_grpc_port: bool = False
    max_request_body: int = 64 << 20
    max_gathered: int = 1 << 30
    max_receive: int | None = None
    max_send: int | None = None
    max_streams: int = 10_000
    keepalive: float = 20.0
    max_idle: float = 3600.0
    refresh_interval: float = 0.2
    staleness: float = 2.0
    drain: float = 30.0
    allow_experimental: bool = False
    lenient: bool = False
    honour_subset: bool = True
    emit_scores: bool = False
    seed: int | None = None
    """Makes random choices repeatable; None: not."""
