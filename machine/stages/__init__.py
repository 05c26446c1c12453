"""The stages of a boot: each a module with `run(config, world)`, which returns what was done.

Every stage finds out what is there already and does the rest, so that it can be run again at any
time: after a failure, and at each boot.
"""
