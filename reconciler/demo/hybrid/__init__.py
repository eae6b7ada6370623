"""The demo of a mesh between Consul and Kubernetes."""
