"""Keeps the endpoint table true: who is in the pool (discovery), and how each replica fares (scraping).

Everything that comes from outside is bounded and doubted here: a bad file keeps the last good pool, and a
replica that hangs, lies or vanishes becomes unknown without delaying what is known of the others.
"""
