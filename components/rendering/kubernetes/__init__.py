"""What a cluster is sent: a plan of servers behind a gateway -> Kubernetes objects."""
