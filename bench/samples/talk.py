"""What Envoy says over ext_proc about one request, as the generated messages.

Benchmarks say it themselves where Envoy would only add its own time. The fields are those that Envoy 1.40
sends with `envoy/standalone.yaml`.
"""

from collections.abc import Mapping
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

METHOD: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
SUBSET: Final = ("envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset")
"""Namespace and key of the metadata that limits the choice of endpoints."""
DUPLEX: Final = processing_mode_pb2.ProcessingMode.FULL_DUPLEX_STREAMED
BUFFERED: Final = processing_mode_pb2.ProcessingMode.BUFFERED
REQUEST: Final = {
    ":authority": "bench",
    ":path": "/v1/chat/completions",
    ":method": "POST",
    ":scheme": "http",
    "content-type": "application/json",
    "accept": "*/*",
    "user-agent": "bench/1",
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-proto": "http",
    "x-request-id": "2f1c1d9e-3f4d-4b6e-9a53-3c1c7c5f7a10",
}
RESPONSE: Final = {
    ":status": "200",
    "server": "uvicorn",
    "content-type": "application/json",
    "x-envoy-upstream-service-time": "3",
}
STREAM: Final = {**RESPONSE, "content-type": "text/event-stream; charset=utf-8"}


def request_headers(*, endpoint: str | None = None, mode: int = DUPLEX) -> Any:
    """The first message; `endpoint` (`ip:port`) is the only one that may be picked, `mode` that of bodies."""
    message = ext_proc.ProcessingRequest(
        request_headers=_headers(REQUEST, end=False),
        protocol_config=ext_proc.ProtocolConfiguration(request_body_mode=mode, response_body_mode=mode),
    )
    if endpoint is not None:
        namespace, key = SUBSET
        message.metadata_context.filter_metadata[namespace].update({key: endpoint})
    return message


def request_body(data: bytes, *, end: bool = True) -> Any:
    return ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=data, end_of_stream=end))


def response_headers(fields: Mapping[str, str] = RESPONSE, *, end: bool = False) -> Any:
    return ext_proc.ProcessingRequest(response_headers=_headers(fields, end=end))


def response_body(data: bytes, *, end: bool = False) -> Any:
    return ext_proc.ProcessingRequest(response_body=ext_proc.HttpBody(body=data, end_of_stream=end))


def _headers(fields: Mapping[str, str], *, end: bool) -> Any:
    values = [base_pb2.HeaderValue(key=key, raw_value=value.encode()) for key, value in fields.items()]
    return ext_proc.HttpHeaders(headers=base_pb2.HeaderMap(headers=values), end_of_stream=end)
