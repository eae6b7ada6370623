"""The machines of a scenario: applications that say who they are, and a real Envoy for each proxy."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from mesh.services import Protocol
from mesh.world import Credential, Trust, World
from tests.support import scenarios
from tests.support.ads_server import TestAuthority
from tests.support.envoys import Application, Running, application, running
from tests.support.scenarios import Scenario
from tests.support.scenarios_echo import echo
from tests.support.scenarios_places import NETWORK, Neighbourhood, claimed, with_files
from tests.support.served import Callers, served


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A scenario whose proxies and applications run."""

    place: Neighbourhood
    machines: Mapping[str, str]
    """The addresses of the machines whose proxies run, by the proxies' names."""
    applications: Mapping[str, Application]
    envoys: Mapping[str, Running]
    """By the proxies' names."""
    callers: Callers
    authority: Path
    """The certificate of whom everybody outside believes."""

    def http_proxy(self, name: str) -> tuple[str, int]:
        """Where the application beside this sidecar finds it."""
        return self.place.own(self.machines[name]), scenarios.HTTP_PROXY_PORT


@contextlib.contextmanager
def standing(scenario: Scenario, folder: Path) -> Iterator[Standing]:
    """The proxies that can be called and all applications, until the block ends."""
    callers, outside = Callers(folder), TestAuthority("outside")
    authority = folder / "ca.pem"
    authority.write_bytes(outside.root)
    world = scenario.world(trust(scenario, callers.roots, outside))
    told = scenarios.assigned(world, [proxy for proxy in scenario.proxies if proxy.can_be_called])
    workloads = {proxy: world.services.workloads[proxy.namespace, proxy.name] for proxy in told}
    machines = {proxy.name: workload.address for proxy, workload in workloads.items()}
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(claimed())
        applications, envoys = {}, {}
        for app in _applications(scenario, world):
            # Behind a proxy an application listens on its machine's own loopback, else on the network.
            has_proxy = app.address in machines.values()
            at = place.own(app.address) if has_proxy else place.network(app.address)
            applications[app.name] = stack.enter_context(app.started(at, outside, folder))
        for proxy, resources in told.items():
            workload = workloads[proxy]
            (own := folder / proxy.name).mkdir()
            moved = (place.moved(one, workload.address, scenario.names) for one in resources)
            files = [with_files(one, folder) for one in moved]
            identity = callers.pair(workload.service_account, proxy.namespace)
            envoys[proxy.name] = stack.enter_context(running(served(files, own, identity), own))
        yield Standing(
            place=place,
            machines=machines,
            applications=applications,
            envoys=envoys,
            callers=callers,
            authority=authority,
        )


def trust(scenario: Scenario, roots: tuple[str, ...], outside: TestAuthority | None = None) -> Trust:
    """Whom the mesh believes, and what its gateways show: certificates, or (without authority) words."""
    kept: dict[str, dict[str, Credential]] = {}
    for name, host in scenario.credentials.items():
        namespace, _, credential = name.partition("/")
        key, chain = b"a key", f"the chain of {host}".encode()
        if outside is not None:
            key, chain = outside.issue(host, x509.DNSName(host))
        kept.setdefault(namespace, {})[credential] = Credential(chain, key)
    return Trust(roots=roots, credentials=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """One application, where the scenario says that it is. ``certificate``: the name it has one for."""

    name: str
    address: str
    port: int
    is_http: bool = True
    certificate: str = ""

    @contextlib.contextmanager
    def started(self, address: str, outside: TestAuthority, folder: Path) -> Iterator[Application]:
        at = (address, self.port)
        with (
            application(self.name, at, self._tls(outside, folder))
            if self.is_http
            else echo(self.name, at) as made
        ):
            yield made

    def _tls(self, outside: TestAuthority, folder: Path) -> ssl.SSLContext | None:
        if not self.certificate:
            return None
        pair = folder / f"{self.name}.pem"
        pair.write_bytes(b"".join(outside.issue(self.certificate, x509.DNSName(self.certificate))))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        return context


def _applications(scenario: Scenario, world: World) -> Iterator[_Declared]:
    """Whatever stands behind an endpoint, by the name of its workload; then what the scenario adds."""
    found: dict[tuple[str, int], _Declared] = {}
    for key, endpoints in world.services.endpoints.items():
        for number, places in endpoints.by_port.items():
            port = world.services.services[key].port(number)
            is_http = port is None or port.protocol is not Protocol.TCP
            for at in places:
                made = _Declared(
                    name=at.workload or at.address, address=at.address, port=at.port, is_http=is_http
                )
                if at.address.startswith(NETWORK):
                    found.setdefault((at.address, at.port), made)
    yield from found.values()
    for name, said in scenario.applications.items():
        address, _, written = said["at"].rpartition(":")
        yield _Declared(
            name=name, address=address, port=int(written), certificate=said.get("certificate", "")
        )
