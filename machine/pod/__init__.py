"""What runs in the pods of a cluster beside the engines: a model's pull, packages, parking."""
