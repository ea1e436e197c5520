"""An Endpoint Picker: Envoy asks over ext_proc, we answer which replica serves the request.

The map of the rooms and the life of a request are written here once the rooms stand.
"""

__version__ = "0.1.0"
