"""A namespace of any Kubernetes cluster that serves models behind one gateway."""
