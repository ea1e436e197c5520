"""The report: one HTML file that needs nothing outside itself, for readers who did not write the suite.

report    its chapters
tables    figures as rows and columns
words     how to read it, and what it does not say
html      elements
report.css
"""
