"""The nouns of the picker: request, endpoint, candidates, decision, ledger, errors, wire names.

Only the standard library and numpy live here; nothing waits, nothing does I/O, nothing logs.
"""
