"""What carries calls: HTTP/2 and gRPC for a handful of long-lived connections, certificates, health.

It knows nothing of what it carries: a service is a path and something that takes a message and answers
messages (`calls.Call`). From the socket up:

    http2       the shell: sockets, TLS and timers; one read, one write
    connection  the state machine: bytes in, events; commands, bytes out
    frames      the table of frames, and the errors that they may be
    headers     header blocks, and what makes a request of them
    streams     the states of streams
    flow        windows in both directions, and what waits for them
    patience    what a peer may waste, and how long it may take
    limits      every bound, with its default
    calls       gRPC calls on streams: deadlines, statuses in trailers
    messages    gRPC messages in the bodies of requests

`grpcio` serves the same calls on the server of the grpcio library, `health` is a service like any other,
`tls` makes, loads and renews certificates.
"""
