"""Which endpoint holds which part of a prompt: block hashes, and an index from hash to holders.

Pure computation on numpy arrays: nothing here waits, does I/O or knows what an endpoint is beyond its
table row.
"""
