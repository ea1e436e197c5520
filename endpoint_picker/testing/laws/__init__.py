"""What is asked of a plugin, by extension point; each law is a function that raises AssertionError.

subject     the class under test, and how laws are grouped by what they are tried on
deciding    screeners, filters, scorers, pickers: arrays that answer for candidates
observing   what reads headers, writes facts, admits, learns, responds, audits
bodies      parsers and their readers of responses
"""
