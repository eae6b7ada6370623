"""What Consul says when it does not answer, and who has to act: we by trying again, or a person."""

from __future__ import annotations

from mesh.errors import MeshError, Misconfigured, Unavailable

_TEXT_MAX = 200


def refusal(name: str, code: int, body: str) -> MeshError:
    """By its words where they decide: a client agent passes a server's 403 on as a 500."""
    said = " ".join(body.split())[:_TEXT_MAX]
    text = f"Consul at {name} answered {code}: {said}"
    if "ACL not found" in said or "token expired" in said:
        return Misconfigured(text, hint="put a token that is valid into the file 'token' of its credentials")
    if 300 <= code < 400:
        return Unavailable(
            f"Consul at {name} answered {code}, a redirect, which is not followed",
            hint="write the URL of the agent itself into the address of the registry",
        )
    if code in (401, 403) or "Permission denied" in said:
        return Misconfigured(
            text, hint="give the token service:read and node:read for all that is to be seen"
        )
    if "Enterprise feature" in said:
        return Misconfigured(text, hint="leave out partition and namespace: this server has neither")
    if "No path to datacenter" in said:
        return Unavailable(text, hint="check the registry's datacenter, and how the datacenters are joined")
    return Unavailable(text)
