"""Facts about a request that filters, scorers and handlers read: tokens, prefix matches, load.

A producer runs before the pick (`produce`); one that remembers what went where also after it (`learn`).
"""
