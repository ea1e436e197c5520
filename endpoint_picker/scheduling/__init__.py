"""Where a request goes: profiles of filters, scorers and a picker, run over all candidates at once.

Deciding waits for nothing and does no I/O: it reads the table's columns and the request's facts, and
answers a Decision.
"""
