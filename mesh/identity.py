"""SPIFFE identities and trust domains."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from mesh.errors import Refused

_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """``spiffe://<trust domain>/ns/<namespace>/sa/<service account>``.

    The characters are those of the SPIFFE ID specification, section 2: a segment that holds
    anything else (a percent sign, say) is refused rather than normalised.
    """

    trust_domain: str
    namespace: str
    service_account: str

    @classmethod
    def parse(cls, text: str) -> Self:
        match text.split("/"):
            case ["spiffe:", "", str(domain), "ns", str(namespace), "sa", str(account)] if (
                _TRUST_DOMAIN.fullmatch(domain)
                and _SEGMENT.fullmatch(namespace)
                and _SEGMENT.fullmatch(account)
            ):
                return cls(domain, namespace, account)
            case _:
                raise Refused(
                    f"not a workload identity: {text!r}",
                    hint="expected spiffe://<trust domain>/ns/<namespace>/sa/<service account>",
                )

    @property
    def principal(self) -> str:
        """The form AuthorizationPolicy uses: the identity without its scheme."""
        return f"{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    def __str__(self) -> str:
        return f"spiffe://{self.principal}"
