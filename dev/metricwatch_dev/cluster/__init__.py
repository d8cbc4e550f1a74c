"""A Kubernetes cluster to develop against: one's own, kind, or the real parts as processes."""
