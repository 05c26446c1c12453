"""What each stack makes, as far as a reviewer has to see it: `tests/inventory/`.

An inventory tells types, names and parents, who is let in from where, who may do what, machines,
images, where secrets are, what is kept and what bills. It leaves out what changes with every
release: digests, tags, user-data and the code that pods run.
"""
