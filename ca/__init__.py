"""Who may call themselves what.

What the daemon needs of this room, in the order in which it needs it:

- :func:`ca.authority.open_authority`: the signing key and its chain, made on the first start or
  plugged in; called again it renews the intermediate when that is due;
- :class:`ca.issuance.Issuer`: decides, signs and verifies, for whoever :mod:`ca.callers` proved;
- :func:`ca.credentials.server_credentials` and :func:`ca.credentials.run_upkeep`: the control
  plane's own certificate, and the task that keeps it and the intermediate fresh;
- :class:`ca.trust.TrustBundle`: the roots that proxies are told to trust;
- :class:`ca.tokens.JoinTokens`: one-time join tokens;
- :func:`ca.est.application` and :func:`ca.tls.server_context`: enrolment over HTTPS.

Nothing here speaks xDS, and nothing here decides which machine belongs to which workload: an
identity comes from a proof (a token that was made for it, a certificate that carries it), never
from what a request says of itself.
"""
