"""A cluster that is large and changes all the time: 500 Services with EndpointSlices of 20 addresses each.

Behind ten of the Services stand Pods; for all of them ten thousand Pods would have to be written, one by one,
which takes minutes. The first ten endpoints of each slice stay as they are. The others become unready and
ready, are terminated, removed, added and moved; Pods are deleted, born again and relabelled. What is expected
in the end is read from the API: the slices, and which Pods there are.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.kubernetes import KubernetesApi
from tests.servers.kubernetes_objects import Manifest, a_manifest
from tests.support.churn import Change
from tests.support.churn_stage import Places

SERVICES, ENDPOINTS, STEADY, WITH_PODS = 500, 20, 10, 10
_WATCHED = 6
_PORT = 8080
_AT_ONCE = 8
_GONE = "gone"
_CONDITIONS = {
    "well": {"ready": True, "serving": True, "terminating": False},
    "unready": {"ready": False, "serving": False, "terminating": False},
    "terminating": {"ready": False, "serving": True, "terminating": True},
}
# From how an endpoint is, what may happen to it, and how it is then.
_MAY = {
    "well": {"fail": "unready", "terminate": "terminating", "remove": _GONE, "move": "well"},
    "unready": {"recover": "well"},
    "terminating": {"remove": _GONE},
    _GONE: {"add": "well"},
}
_POD_MAY = {
    "well": {"delete": _GONE, "relabel": "well", "fail": "unready"},
    "unready": {"recover": "well"},
    _GONE: {"bear": "well"},
}

Place = tuple[int, int]
"""A Service and the number of an endpoint of it."""


@dataclass(slots=True)
class _Endpoint:
    address: str
    state: str = "well"
    uid: str = ""
    """Of its Pod, if it has one."""


@dataclass(slots=True)
class KubernetesSource:
    """The objects of one namespace. Owned by the test that churns them."""

    cluster: KubernetesApi
    namespace: str
    kinds: Counter[str] = field(default_factory=Counter)
    """How often each kind of change was chosen."""
    _endpoints: dict[Place, _Endpoint] = field(default_factory=dict)
    _busy: set[int] = field(default_factory=set)
    """Services whose slice is being written, or waited for."""
    _turns: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    def registry(self, folder: Path) -> dict[str, Any]:
        """As ``Mesh.spec.registries`` has it; its credentials are put into ``folder``."""
        (folder / "main").mkdir(parents=True, mode=0o700)
        self.cluster.kubeconfig(folder / "main" / "kubeconfig")
        return {"name": "main", "kubernetes": {"secretRef": "main"}}

    def fill(self) -> None:
        """Put everything into the cluster."""
        self._endpoints = {
            (service, number): _Endpoint(_address(service, number))
            for service in range(SERVICES)
            for number in range(ENDPOINTS)
        }
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            pods = [place for place in self._endpoints if place[0] < WITH_PODS]
            list(pool.map(self._bear, pods))
            list(pool.map(self._create, range(SERVICES)))

    @property
    def steady(self) -> Mapping[str, Places]:
        return {
            self._cluster(service): {
                (_address(service, number), _PORT): "HEALTHY" for number in range(STEADY)
            }
            for service in range(0, SERVICES, SERVICES // _WATCHED)
        }

    def change(self, how: random.Random) -> Change:
        service = self._choose(how)
        self._busy.add(service)
        places = [(service, number) for number in range(STEADY, ENDPOINTS)]
        unwell = [place for place in places if self._endpoints[place].state != "well"]
        place = how.choice(unwell if unwell and how.random() < 0.4 else places)
        endpoint = self._endpoints[place]
        before = endpoint.address
        may = (_POD_MAY if service < WITH_PODS else _MAY)[endpoint.state]
        kind = how.choice(list(may))
        self.kinds[kind] += 1
        endpoint.state = may[kind]
        if kind in {"move", "add", "bear"}:
            endpoint.address = self._fresh_address()
        health = {"well": "HEALTHY", "terminating": "DRAINING"}.get(endpoint.state, "")
        at, left = (endpoint.address, _PORT), (before, _PORT)
        return Change(
            write=self._write(kind, place),
            cluster=self._cluster(service),
            shows=lambda there: there.get(at, "") == health and (at == left or left not in there),
            done=lambda: self._busy.discard(service),
        )

    def kill(self) -> None:
        self.cluster.kill_api_server()

    def start(self) -> None:
        self.cluster.start_api_server()

    def expected(self) -> Mapping[str, Places]:
        pods = {_named(one): one["metadata"]["uid"] for one in self._all("/api/v1/pods")}
        slices = defaultdict(list)
        for one in self._all("/apis/discovery.k8s.io/v1/endpointslices"):
            service = one["metadata"].get("labels", {}).get("kubernetes.io/service-name", "")
            slices[one["metadata"]["namespace"], service].append(one)
        return {
            f"outbound|{port['port']}||{name}.{namespace}.svc.cluster.local": _served(
                slices[namespace, name], pods
            )
            for one in self._all("/api/v1/services")
            for namespace, name in [_named(one)]
            for port in one["spec"]["ports"]
        }

    def _all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.ask("GET", path)["items"]
        return found

    def _choose(self, how: random.Random) -> int:
        """To Pods happens a fifth of all, though only few Services have any."""
        while True:
            service = how.randrange(WITH_PODS) if how.random() < 0.2 else how.randrange(WITH_PODS, SERVICES)
            if service not in self._busy:
                return service

    def _write(self, kind: str, place: Place) -> Callable[[], None]:
        pod = self._pod(place)
        match kind:
            case "delete":
                return lambda: self.cluster.delete(pod)
            case "relabel":
                label = {"metadata": {"labels": {"version": f"v{next(self._turns)}"}}}
                return lambda: self.cluster.patch(pod, label) and None
            case "bear":

                def bear() -> None:
                    self._bear(place)
                    self.cluster.apply(self._slice(place[0]))

                return bear
            case _:
                return lambda: self.cluster.apply(self._slice(place[0])) and None

    def _create(self, service: int) -> None:
        ports = [{"name": "http", "port": 80, "targetPort": _PORT}]
        selector = {"selector": {"app": f"s{service}"}} if service < WITH_PODS else {}
        self.cluster.create(
            a_manifest("Service", f"s{service}", self.namespace, spec={"ports": ports, **selector})
        )
        self.cluster.apply(self._slice(service))

    def _bear(self, place: Place) -> None:
        """A new Pod, at the address of the endpoint."""
        endpoint, pod = self._endpoints[place], self._pod(place)
        endpoint.uid = self.cluster.create(pod)["metadata"]["uid"]
        address = endpoint.address
        self.cluster.patch_status(pod, {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]})

    def _pod(self, place: Place) -> dict[str, Any]:
        return a_manifest(
            "Pod",
            f"s{place[0]}-{place[1]}",
            self.namespace,
            metadata={"labels": {"app": f"s{place[0]}", "security.istio.io/tlsMode": "istio"}},
            spec={"nodeName": "node-1", "containers": [{"name": "app", "image": "app"}]},
        )

    def _slice(self, service: int) -> dict[str, Any]:
        places = ((service, number) for number in range(ENDPOINTS))
        return a_manifest(
            "EndpointSlice",
            f"s{service}",
            self.namespace,
            group="discovery.k8s.io/v1",
            metadata={"labels": {"kubernetes.io/service-name": f"s{service}"}},
            addressType="IPv4",
            ports=[{"name": "http", "port": _PORT, "protocol": "TCP"}],
            endpoints=[self._written(place) for place in places if self._endpoints[place].state != _GONE],
        )

    def _written(self, place: Place) -> dict[str, Any]:
        endpoint = self._endpoints[place]
        written: dict[str, Any] = {
            "addresses": [endpoint.address],
            "conditions": _CONDITIONS[endpoint.state],
        }
        if endpoint.uid:
            name = f"s{place[0]}-{place[1]}"
            target = {"kind": "Pod", "namespace": self.namespace, "name": name, "uid": endpoint.uid}
            written["targetRef"] = target
        return written

    def _cluster(self, service: int) -> str:
        return f"outbound|80||s{service}.{self.namespace}.svc.cluster.local"

    def _fresh_address(self) -> str:
        turn = next(self._turns)
        return f"172.{16 + turn // 65536}.{turn // 256 % 256}.{turn % 256}"


def _served(slices: list[dict[str, Any]], pods: Mapping[tuple[str, str], str]) -> Places:
    """Which endpoints get requests: those that are ready, and a Pod that there is if they are one.

    One that terminates drains: in these slices there is always a ready one besides.
    """
    found: dict[tuple[str, int], str] = {}
    for one in slices:
        for endpoint in one["endpoints"] or ():
            target = endpoint.get("targetRef")
            if target and pods.get((target["namespace"], target["name"])) != target["uid"]:
                continue
            conditions = endpoint["conditions"]
            at = endpoint["addresses"][0], one["ports"][0]["port"]
            if conditions["ready"]:
                found[at] = "HEALTHY"
            elif conditions["serving"]:
                found[at] = "DRAINING"
    return found


def _named(one: Manifest) -> tuple[str, str]:
    return one["metadata"]["namespace"], one["metadata"]["name"]


def _address(service: int, number: int) -> str:
    return f"10.{service // 250}.{service % 250}.{number + 1}"
