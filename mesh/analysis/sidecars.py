"""Several Sidecars for one workload, or several defaults of one namespace.

Istio, ``sidecar.SelectorAnalyzer`` and ``DefaultSelectorAnalyzer``.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.analysis.finding import Finding, listed
from mesh.analysis.hosts import KnownHosts
from mesh.config import Config, ConfigObject
from mesh.kinds.sidecar import Sidecar
from mesh.labels import Labels, selects


def check(config: Config, _hosts: KnownHosts) -> Iterator[Finding]:
    for namespace in config.namespaces:
        sidecars = config.within("Sidecar", namespace)
        if len(sidecars) > 1:
            yield from _defaults([sidecar for sidecar in sidecars if not _selector(sidecar)])
            yield from _rivals(config, namespace, [sidecar for sidecar in sidecars if _selector(sidecar)])


def _selector(sidecar: ConfigObject[Sidecar]) -> Labels:
    chosen = sidecar.spec.workload_selector
    return chosen.labels.pairs if chosen is not None else ()


def _defaults(sidecars: list[ConfigObject[Sidecar]]) -> Iterator[Finding]:
    if len(sidecars) < 2:
        return
    for sidecar in sidecars:
        others = [other.key.name for other in sidecars if other is not sidecar]
        yield Finding(
            code="IST0111",
            object=sidecar.key,
            path="spec.workloadSelector",
            message=f"the namespace has another Sidecar without a selector: {listed(others)}",
            hint="keep one as the default of the namespace",
        )


def _rivals(config: Config, namespace: str, sidecars: list[ConfigObject[Sidecar]]) -> Iterator[Finding]:
    workloads = [
        *(entry.spec.labels.pairs for entry in config.within("WorkloadEntry", namespace)),
        *(
            group.spec.metadata.labels.pairs
            for group in config.within("WorkloadGroup", namespace)
            if group.spec.metadata is not None
        ),
    ]
    selectors = [_selector(sidecar) for sidecar in sidecars]
    # Two equal selectors clash whoever they select.
    workloads += [selector for selector in selectors if selectors.count(selector) > 1]
    chosen = [[one for one in sidecars if selects(_selector(one), labels)] for labels in workloads]
    for sidecar in sidecars:
        others = {other.key.name for group in chosen if sidecar in group for other in group}
        others.discard(sidecar.key.name)
        if others:
            yield Finding(
                code="IST0110",
                object=sidecar.key,
                path="spec.workloadSelector",
                message=f"selects a workload that another Sidecar selects too: {listed(sorted(others))}",
                hint="make the selectors exclude each other",
            )
