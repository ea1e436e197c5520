"""The proxy in a decode pod: it has the prompt computed elsewhere, then lets the engine beside it decode.

The life of a request, and where each step lives:

 1. a listener for each rank takes it, with or without TLS                       `server`
 2. routing headers are taken off and checked, in a fixed order                  `handler`, `allow`, `ranks`
 3. encoders compute what is no text                                             `encoders`
 4. a connector has a prefill replica compute the prompt, in its engine's manner `connectors`
 5. the local engine decodes, in pieces where that is asked for                  `decoder`, `chunked`
 6. its answer passes, chunk by chunk as it comes; cached tokens are put right   `relay`, `usage`

Around it: `command` (start, signals, drain), `options` (what can be set), `flags` and `sources` (by whom),
`call` (one request under way), `engines` (connections to engines), `targets` (their addresses), `headers`,
`errors`, `counts` (metrics), `upgrade` (WebSockets).
Only `parsing.legs` knows what the two bodies look like; it is shared with the picker that needs no sidecar.
"""
