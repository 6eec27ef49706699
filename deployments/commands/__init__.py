"""The commands of `gantry`. Each room has a `register(app)` that adds its commands to the command line.

Heavy imports stay inside the commands, so that `gantry --help` answers at once and `gantry serve` can set
what Ray reads while it is imported.
"""
