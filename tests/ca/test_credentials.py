"""The control plane's own certificate, and its renewal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from ca import minting
from ca.authority import Authority, open_authority
from ca.credentials import ServerCredentials, run_upkeep, server_credentials
from ca.issuance import Issuer
from ca.profile import Profile
from mesh.errors import MeshError, Misconfigured, Unavailable
from mesh.latest import Latest
from tests.support.certificates import an_authority, an_issuer
from tests.support.clock import FakeClock

HOUR = timedelta(hours=1)


def test_the_control_plane_shows_the_identity_that_proxies_pin() -> None:
    credentials = server_credentials(an_issuer(FakeClock()), ["mesh.example.org"])

    leaf, _ = x509.load_pem_x509_certificates(credentials.chain_pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://cluster.local/ns/istio-system/sa/meshwright"
    ]
    assert names.get_values_for_type(x509.DNSName) == ["mesh.example.org"]


def test_credentials_are_due_in_the_middle_of_their_life_and_do_not_show_their_key() -> None:
    clock = FakeClock()
    credentials = server_credentials(an_issuer(clock))

    assert credentials.not_after == clock.now() + 24 * HOUR
    assert credentials.renew_at == clock.now() + 12 * HOUR - timedelta(minutes=5)
    assert "PRIVATE" not in repr(credentials)


async def kept(
    clock: FakeClock,
    authority: Latest[Authority],
    reopen: Callable[[], Authority],
    act: Callable[[Latest[ServerCredentials]], object],
) -> Latest[ServerCredentials]:
    """Credentials kept up while ``act`` lets time pass. One thread, so that it can be waited for."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    issuer = Issuer(authority, Profile(), clock)
    credentials = Latest(server_credentials(issuer))
    upkeep = asyncio.create_task(
        run_upkeep(reopen, authority, lambda: server_credentials(issuer), credentials, clock)
    )
    result = act(credentials)
    if asyncio.iscoroutine(result):
        await result
    upkeep.cancel()
    await asyncio.wait([upkeep])
    return credentials


async def passed(clock: FakeClock, hours: int) -> None:
    """Hour by hour, with a moment of real time for what is read off the loop."""
    for _ in range(hours):
        await clock.advance(HOUR)
        await asyncio.to_thread(int)
        await clock.advance(timedelta(0))


async def test_the_servers_certificate_is_replaced_twice_a_day() -> None:
    clock = FakeClock()
    authority = an_authority(clock.now())

    credentials = await kept(clock, Latest(authority), lambda: authority, lambda _: passed(clock, 48))

    assert credentials.version in (3, 4)
    assert credentials.value.not_after > clock.now() + 11 * HOUR


async def test_a_clock_that_is_set_forward_is_noticed_within_the_hour() -> None:
    clock = FakeClock()
    authority = an_authority(clock.now())

    async def jump() -> None:
        clock.jump(20 * HOUR)
        await passed(clock, 2)

    credentials = await kept(clock, Latest(authority), lambda: authority, lambda _: jump())

    assert credentials.version == 1


async def test_an_intermediate_is_renewed_while_running(tmp_path: Path) -> None:
    """The authority in force changes, and the next certificate is signed by it."""
    clock = FakeClock()

    def reopen() -> Authority:
        return open_authority(tmp_path, clock.now(), trust_domain="cluster.local")

    authority = Latest(reopen())
    first = authority.value

    async def half_a_year() -> None:
        clock.jump(timedelta(days=184))
        await passed(clock, 2)

    credentials = await kept(clock, authority, reopen, lambda _: half_a_year())

    assert authority.value.certificate != first.certificate
    assert authority.value.roots == first.roots
    _, signer = x509.load_pem_x509_certificates(credentials.value.chain_pem)
    assert signer == authority.value.certificate


async def test_a_clock_that_is_set_back_is_noticed_within_the_hour() -> None:
    """Else the server shows a certificate that is not valid yet, for as long as the clock was wrong."""
    clock = FakeClock()
    authority = an_authority(clock.now() - timedelta(days=60))

    async def back() -> None:
        clock.jump(timedelta(days=-30))
        await passed(clock, 2)

    credentials = await kept(clock, Latest(authority), lambda: authority, lambda _: back())

    assert credentials.version == 1
    assert credentials.value.not_before < clock.now() < credentials.value.not_after


async def test_what_cannot_be_renewed_now_stays_in_force_and_is_tried_again() -> None:
    """A full disk, or a plugged-in directory that is just being replaced."""
    clock = FakeClock()
    authority = an_authority(clock.now())
    problems: list[MeshError] = [
        Unavailable("could not write ca: No space left on device"),
        Misconfigured("ca-key.pem does not fit ca-cert.pem"),
    ]

    def reopen() -> Authority:
        if problems:
            raise problems.pop()
        return authority

    credentials = await kept(clock, Latest(authority), reopen, lambda _: passed(clock, 14))

    assert problems == []
    assert credentials.version == 1


async def test_a_ca_that_was_replaced_signs_the_servers_certificate_at_once() -> None:
    """Else its callers are verified with the old roots until noon."""
    clock = FakeClock()
    replaced = an_authority(clock.now())

    authority = Latest(an_authority(clock.now()))
    credentials = await kept(clock, authority, lambda: replaced, lambda _: passed(clock, 1))

    assert authority.value == replaced
    assert credentials.value.roots_pem == minting.pem(*replaced.roots)


async def test_a_ca_in_its_last_minutes_is_not_asked_without_a_pause() -> None:
    clock = FakeClock()
    authority = an_authority(clock.now())
    clock.jump(authority.not_after - clock.now() - timedelta(minutes=5))

    async def five_minutes() -> None:
        for _ in range(5):
            await clock.advance(timedelta(minutes=1))
            await asyncio.to_thread(int)

    credentials = await kept(clock, Latest(authority), lambda: authority, lambda _: five_minutes())

    assert credentials.version <= 5
