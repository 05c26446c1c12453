"""Google Kubernetes Engine: a cluster, its pools of nodes, and the way in from outside."""
