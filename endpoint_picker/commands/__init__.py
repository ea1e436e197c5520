"""What the command line does beside serving: look at configurations, and tell of plugins.

Each command is a module with `run`, which takes the arguments after its name and answers the exit code.
"""
