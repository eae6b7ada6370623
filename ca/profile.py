"""What we are willing to sign.

The numbers are Istio's (``security/pkg/pki``) unless a comment says why not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from mesh.durations import spoken_duration
from mesh.errors import Misconfigured, Refused
from mesh.identity import SpiffeId
from mesh.names import ROOT_NAMESPACE

CONTROL_PLANE_ACCOUNT = "meshwright"

# A common name holds 64 characters at most (RFC 5280, appendix A, ub-common-name).
_MACHINE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How long a certificate lives.

    ``backdate`` moves NotBefore into the past, because the clock of a machine that has just been
    started is often behind, and a certificate "not yet valid" looks to it like a broken CA. Ten
    minutes instead of Istio's two: machines without a hypervisor's clock drift further than pods.
    It adds nothing to what a thief could do with the key.
    """

    lifetime: timedelta = timedelta(hours=24)
    lifetime_max: timedelta = timedelta(days=90)
    backdate: timedelta = timedelta(minutes=10)

    def __post_init__(self) -> None:
        if not timedelta(0) < self.lifetime <= self.lifetime_max:
            raise Misconfigured(
                f"certificate lifetime {spoken_duration(self.lifetime)} is not between 0s and "
                f"{spoken_duration(self.lifetime_max)}",
                hint="set a lifetime within that range; 24h is usual",
            )

    def backdate_of(self, lifetime: timedelta) -> timedelta:
        """At most a tenth of the life, so that half-life never lies before the issuing."""
        return min(self.backdate, lifetime / 10)


def control_plane(trust_domain: str) -> SpiffeId:
    """The identity that proxies pin as the control plane's. No caller is ever given it."""
    return SpiffeId(trust_domain, ROOT_NAMESPACE, CONTROL_PLANE_ACCOUNT)


def machine_name(text: str) -> str:
    """The name of a machine or proxy as it stands in a certificate's subject."""
    if not _MACHINE_NAME.fullmatch(text):
        raise Refused(
            f"not a machine name: {text!r}",
            hint="at most 64 lower case letters, digits, '-' and '.', with a letter or digit at both ends",
        )
    return text
