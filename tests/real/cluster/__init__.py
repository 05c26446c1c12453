"""A real Kubernetes control plane on this machine, with hollow nodes.

etcd is Debian's; the API server, the scheduler, the controllers and kubemark's hollow kubelets are
built from the Go module k8s.io/kubernetes. Objects, admission, scheduling, claims and deletion are
the real ones; containers don't run. All of it listens on 127.0.0.1.
"""
