"""Facts about a request that filters, scorers and handlers read: tokens, prefix matches, load.

A producer runs once before the pick (`produce`) and once after it (`learn`).
"""
