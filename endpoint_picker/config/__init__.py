"""What a person writes down: the schema of configuration files, and the strict way in which it is read.

Everything that is wrong with a configuration ends as one ConfigError that says where, what, and what would
be right. Which plugins exist is not known here: the rooms above look at `parameters` with `load.parameters`.
"""
