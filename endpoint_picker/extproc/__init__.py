"""The conversation with Envoy about one HTTP request.

`messages` names what is said, `codec` turns it to and from protobuf (the only importer of generated
messages), `stream` is the state machine without I/O (with `requests` and `responses`, its two halves, and
`gathered`, the bodies on their way in), `conversation` what a transport serves. Nothing here decides where
a request goes: that is the director's.
"""
