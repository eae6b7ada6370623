"""The certificate authority as text, for people."""

from __future__ import annotations

from ca.authority import Authority


def authority(found: Authority) -> str:
    """What there is to know of it, in lines. A root that signs by itself has no intermediate."""
    between = [certificate for certificate in found.certificates if certificate not in found.roots]
    lines = [f"trust domain        {found.trust_domain}", f"root sha256         {found.root_hash}"]
    if between:
        ends = min(certificate.not_valid_after_utc for certificate in between)
        lines.append(f"intermediate until  {ends:%Y-%m-%d}")
    return "\n".join([*lines, f"root until          {found.roots[0].not_valid_after_utc:%Y-%m-%d}"])
