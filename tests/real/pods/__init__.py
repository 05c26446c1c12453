"""`gke-ovms` on the control plane of `cluster`: its objects, its nodes, and what its pods run."""
