# What a developer and a curious visitor need. Answers go to stdout, set-up talks on stderr.

.DEFAULT_GOAL := help
.PHONY: help demo demo-hybrid test lint bench bench-registries test-servers clean

# `make PYTHON=python3.13 ...` says which Python makes the environment.
RUN := .venv/bin/python
ARGS ?=

help:  ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-24s %s\n", $$1, $$2 }'

demo:  ## Run a mesh on this machine with real Envoys (ARGS="--once --output json").
	@.ci/setup runtime envoy >&2
	@exec $(RUN) -m reconciler.cli demo $(ARGS)

demo-hybrid:  ## Run a mesh between a real Consul and a real Kubernetes API, with real Envoys.
	@.ci/setup runtime envoy >&2
	@.ci/test-servers >&2
	@exec $(RUN) -m reconciler.cli demo hybrid $(ARGS)

test:  ## Run every test that this machine allows (ARGS="tests/mesh -x").
	@.ci/setup dev envoy >&2
	@exec $(RUN) -m pytest $(ARGS)

lint:  ## Check format, style and types.
	@.ci/setup dev >&2
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy

bench:  ## Measure the control plane (ARGS="--services 300 --streams 300").
	@.ci/setup compiler dev >&2
	@exec $(RUN) -m tests.bench $(ARGS)

bench-registries:  ## Measure a Consul or a cluster in which everything changes (ARGS=consul or kubernetes).
	@.ci/setup dev envoy >&2
	@.ci/test-servers >&2
	@exec $(RUN) -m tests.bench.registries $(ARGS)

test-servers:  ## Bring the servers that tests talk to: sshd (as root), etcd, kube-apiserver, Consul.
	@.ci/setup servers >&2

clean:  ## Remove everything that these targets made.
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis xds/envoy.binpb
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
