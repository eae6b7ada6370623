"""The program beside a Pod's Envoy: it gets the Pod its identity, and keeps it fresh."""
