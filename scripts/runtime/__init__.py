"""A notebook runtime in a cluster, from the outside: the way to it, and proof that it works."""
