"""A systemd guest on this machine, with a cloud's addresses and an internet around it.

What a stack puts on a virtual machine boots here as it would there: the same bytes, on the same
distribution, against stand-ins for the metadata server, Secret Manager and the sites that a
machine downloads from. Nothing of a guest is seen by this machine's network.
"""
