#!/usr/bin/env python3
"""Gets a machine its identity in the mesh, and keeps it fresh.

One file, Python 3.8 or newer and the ``openssl`` command, nothing else: it is copied to machines
as it is. It makes the private key (which never leaves the machine), has it signed by the control
plane over EST (RFC 7030) and lays the files out as Envoy watches them:

    DIR/certs/..data -> ..<n>/          swapped by one rename
    DIR/certs/..<n>/{key,cert,root}.pem cert.pem is the leaf and its intermediates
    DIR/sds/{cert,root}.yaml            secrets "default" and "ROOTCA", written by rename

It may be killed at any point: what Envoy sees is either the old state or the new one, and the
next run goes on from there. A key that was made and not yet signed waits in DIR/pending, because
the control plane takes a used token again only together with the same key.

Before the token is sent, the server must prove to belong to the CA whose hash the token carries,
and to be the control plane: an identity that no workload certificate has.

Exit codes: 0 fine; 1 refused; 2 used wrongly; 3 something outside did not answer.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import hashlib
import http.client
import os
import random
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Iterator, Sequence  # noqa: UP035 (Python 3.8)
from urllib.parse import urlsplit

EST = "/.well-known/est"
EST_PORT = 15013
CONTROL_PLANE = "/ns/istio-system/sa/meshwright"
REFUSED, MISUSED, UNAVAILABLE = 1, 2, 3
BUSY = (429, 500, 502, 503, 504)
ANSWER_SECONDS = 20
ANSWER_BYTES_MAX = 1024 * 1024
SKEW_SECONDS_MAX = 300
RETRY_SECONDS, RETRY_SECONDS_MAX = 15.0, 600.0
LOOK_SECONDS = 3600.0
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED: most often a clock.
CLOCK_ERRORS = (9, 10)

CERT_YAML = """\
resources:
- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: default
  tls_certificate:
    certificate_chain: {{filename: '{certs}/..data/cert.pem'}}
    private_key: {{filename: '{certs}/..data/key.pem'}}
    watched_directory: {{path: '{certs}'}}
"""
ROOT_YAML = """\
resources:
- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: ROOTCA
  validation_context:
    trusted_ca: {{filename: '{certs}/..data/root.pem'}}
    watched_directory: {{path: '{certs}'}}
"""


class EnrolmentError(Exception):
    """Ends the program with an exit code, a message and a hint."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.hint = code, hint


def main(argv: Sequence[str] | None = None) -> int:
    os.umask(0o077)
    chosen = read_arguments(argv)
    try:
        credentials, server = Credentials(chosen.dir), Server(chosen.server)
        if chosen.command == "enrol":
            enrol(credentials, server, TokenFile(chosen.token_file), force=chosen.force)
        elif chosen.command == "renew":
            renew(credentials, server, force=chosen.force)
        else:
            run(credentials, server, TokenFile(chosen.token_file))
    except EnrolmentError as error:
        report(error)
        return error.code
    except OSError as error:
        report(on_disk(error, chosen.dir))
        return MISUSED
    except KeyboardInterrupt:
        return 0
    return 0


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="meshwright-enrol", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="{enrol,renew,run}")
    for name, text in (
        ("enrol", "get a first certificate with a join token"),
        ("renew", "replace the certificate if half of its life is over"),
        ("run", "enrol if need be, then renew for ever"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--server", required=True, help=f"the control plane: https://HOST:{EST_PORT}")
        command.add_argument("--dir", required=True, type=Path, help="where the credentials are kept")
        if name != "renew":
            command.add_argument("--token-file", help="file with the join token, or - for standard input")
        if name != "run":
            command.add_argument("--force", action="store_true", help="even if it is not due")
    return parser.parse_args(argv)


def enrol(credentials: Credentials, server: Server, token_file: TokenFile, *, force: bool = False) -> None:
    with credentials.locked():
        certificate = credentials.current()
        if certificate and certificate.ends > now() and not force:
            credentials.finish()
            say(f"already enrolled as {certificate.identity} until {stamp(certificate.ends)}")
            return
        token = token_file.token()
        root = pinned_root(server, token.root_hash)
        control_plane = ControlPlane(server, token.trust_domain, verified_context(root))
        certificate = control_plane.exchange(
            credentials, "/simpleenroll", {"Authorization": f"Bearer {token.text}"}
        )
        say(f"enrolled as {certificate.identity} until {stamp(certificate.ends)}")


def renew(credentials: Credentials, server: Server, *, force: bool = False) -> None:
    with credentials.locked():
        certificate = credentials.current()
        if certificate is None:
            raise EnrolmentError(
                MISUSED, f"no certificate in {credentials.certs}", "enrol this machine with a join token"
            )
        credentials.finish()
        if now() >= certificate.ends:
            raise EnrolmentError(
                REFUSED,
                f"the certificate expired at {stamp(certificate.ends)}",
                f"this machine's clock says {stamp(now())}; if it is right, enrol again with a new token",
            )
        context = verified_context((credentials.data / "root.pem").read_text())
        control_plane = ControlPlane(server, certificate.trust_domain, context)
        if now() < certificate.due() and not force:
            control_plane.refresh_roots(credentials)
            say(f"not due: {certificate.identity} is valid until {stamp(certificate.ends)}")
            return
        context.load_cert_chain(str(credentials.data / "cert.pem"), str(credentials.data / "key.pem"))
        certificate = control_plane.exchange(credentials, "/simplereenroll", {})
        say(f"renewed as {certificate.identity} until {stamp(certificate.ends)}")


def run(credentials: Credentials, server: Server, token_file: TokenFile) -> None:
    """Enrol if need be, then renew for ever. What fails is tried again, ever slower.

    Only a first enrolment that is refused ends the program: then a person has to do something.
    """
    pause = RETRY_SECONDS
    while True:
        certificate = credentials.current()
        try:
            if certificate is None:
                enrol(credentials, server, token_file)
            else:
                renew(credentials, server)
            certificate = credentials.current()
            wait, pause = certificate.due() - now() if certificate else pause, RETRY_SECONDS
        except (EnrolmentError, OSError) as failure:
            error = on_disk(failure, credentials.directory) if isinstance(failure, OSError) else failure
            if certificate is None and error.code in (MISUSED, REFUSED):
                raise
            report(error)
            wait, pause = pause * random.uniform(0.5, 1.0), min(pause * 2, RETRY_SECONDS_MAX)  # noqa: S311
        # The sleep of a suspended machine does not count, so the wall clock is looked at hourly.
        time.sleep(min(max(wait, 1.0), LOOK_SECONDS))  # noqa: TID251 (a program of its own)


class Token:
    """``mw1.<id>.<secret>.<SHA-256 of the CA's root>.<trust domain>``."""

    SHAPE = re.compile(r"mw1\.[0-9a-f]{16}\.[\w-]{20,100}\.([0-9a-f]{64})\.([a-z0-9._-]+)", re.ASCII)

    def __init__(self, text: str) -> None:
        found = self.SHAPE.fullmatch(text.strip())
        if not found:
            raise EnrolmentError(
                MISUSED, "this is not a join token", "make one on the control plane: meshwright ca token"
            )
        self.text = found.group(0)
        self.root_hash, self.trust_domain = found.groups()


class TokenFile:
    """Where the join token is. Standard input is read once, however often the token is tried."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.said: str | None = None

    def token(self) -> Token:
        if self.path is None:
            raise EnrolmentError(
                MISUSED, "no join token", "name its file with --token-file, or - for standard input"
            )
        if self.path != "-":
            return Token(self.read(self.path))
        if self.said is None:
            self.said = sys.stdin.read(4096)
        return Token(self.said)

    @staticmethod
    def read(path: str) -> str:
        try:
            return Path(path).read_text()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it holds no text"
            raise EnrolmentError(MISUSED, f"could not read the token from {path}: {reason}") from None


class Credentials:
    """The directory that Envoy watches, and the key that waits to be signed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.certs = self.directory / "certs"
        self.data = self.certs / "..data"
        self.sds = self.directory / "sds"
        self.waiting_key = self.directory / "pending" / "key.pem"
        if re.search(r"['\n]", str(self.directory)):
            raise EnrolmentError(MISUSED, f"directory {str(self.directory)!r} holds a quote or a line end")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A timer and a person may run this at the same time; one of them waits."""
        for path in (self.certs, self.sds, self.waiting_key.parent):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def current(self) -> Certificate | None:
        """The certificate in use, if there is one."""
        path = self.data / "cert.pem"
        return Certificate(path.read_text()) if path.exists() else None

    def next_key(self) -> Path:
        """The key to be signed: a new one, unless an earlier run was killed before its answer came."""
        key, in_use = self.waiting_key, self.data / "key.pem"
        if not key.exists() or (in_use.exists() and in_use.read_bytes() == key.read_bytes()):
            write_file(key, openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
        return key

    def publish(self, key: bytes, chain: str, roots: str) -> None:
        """Make these the ones in use, with one rename. Only then is anything else touched."""
        taken = [int(path.name[2:]) for path in self.generations()]
        generation = self.certs / f"..{max(taken, default=0) + 1}"
        generation.mkdir(mode=0o700)
        write_file(generation / "key.pem", key)
        write_file(generation / "cert.pem", chain.encode())
        write_file(generation / "root.pem", roots.encode())
        link = self.certs / "..data.tmp"
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(generation.name)
        flush_directory(self.certs)
        link.replace(self.data)
        flush_directory(self.certs)
        self.finish()

    def finish(self) -> None:
        """What a killed run may have left undone: the files Envoy starts from, and old generations."""
        for name, template in (("cert.yaml", CERT_YAML), ("root.yaml", ROOT_YAML)):
            path, text = self.sds / name, template.format(certs=self.certs)
            # Envoy reloads what is renamed here, so what is right already is left alone.
            if not path.exists() or path.read_text() != text:
                write_file(path, text.encode())
        in_use = self.data.resolve().name
        for path in self.generations():
            if path.name != in_use:
                shutil.rmtree(path)

    def generations(self) -> list[Path]:
        return [path for path in self.certs.iterdir() if re.fullmatch(r"\.\.[0-9]+", path.name)]


def write_file(path: Path, content: bytes) -> None:
    """The whole file or none of it, for its owner alone: written beside, flushed, renamed."""
    temporary = path.with_name(f".{path.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    flush_directory(path.parent)


def flush_directory(path: Path) -> None:
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Server:
    """An address, and how to ask there."""

    def __init__(self, url: str) -> None:
        self.url, self.is_skew_told = url, False
        try:
            parts = urlsplit(url)
            self.host, self.port = parts.hostname or "", parts.port or EST_PORT
        except ValueError:
            self.host = ""
        if not self.host or parts.scheme != "https":
            raise EnrolmentError(MISUSED, f"not a server: {url!r}", f"expected https://HOST:{EST_PORT}")

    @contextlib.contextmanager
    def connected(self, context: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
        """A connection whose errors are told in our words."""
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=ANSWER_SECONDS, context=context
        )
        try:
            connection.connect()
            yield connection
        except ssl.SSLCertVerificationError as error:
            hint = "its certificate does not come from the CA that this machine trusts"
            if error.verify_code in CLOCK_ERRORS:
                hint = f"this machine's clock says {stamp(now())}; is it right?"
            raise EnrolmentError(
                REFUSED, f"{self.url} could not prove itself: {error.verify_message}", hint
            ) from None
        except ssl.SSLError as error:
            if "ALERT" not in (error.reason or ""):
                raise EnrolmentError(UNAVAILABLE, f"{self.url} did not answer: {error}") from None
            raise EnrolmentError(
                REFUSED,
                f"{self.url} refused this machine's certificate: {error.reason}",
                f"this machine's clock says {stamp(now())}; if it is right, enrol again with a new token",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise EnrolmentError(UNAVAILABLE, f"{self.url} did not answer: {reason}") from None
        finally:
            connection.close()

    def answer(self, connection: http.client.HTTPSConnection) -> bytes:
        answer = connection.getresponse()
        content = answer.read(ANSWER_BYTES_MAX)
        self.compare_clocks(answer.headers.get("Date", ""))
        if answer.status != 200:
            reason, _, hint = content.decode(errors="replace").strip().partition("\n")
            code = UNAVAILABLE if answer.status in BUSY else REFUSED
            raise EnrolmentError(code, f"{self.url} answered {answer.status}: {reason}", hint)
        return content

    def compare_clocks(self, date: str) -> None:
        """Certificates are about time: say both clocks before something odd happens."""
        with contextlib.suppress(TypeError, ValueError):
            theirs = parsedate_to_datetime(date).timestamp()
            if abs(theirs - now()) > SKEW_SECONDS_MAX and not self.is_skew_told:
                self.is_skew_told = True
                text = f"this machine's clock says {stamp(now())}, the control plane's {stamp(theirs)}"
                print(f"warning: {text}", file=sys.stderr, flush=True)  # noqa: T201


def pinned_root(server: Server, root_hash: str) -> str:
    """The one root of the server whose hash the token carries. Anyone may read this answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with server.connected(context) as connection:
        connection.request("GET", f"{EST}/cacerts")
        pems = certificates_in(server.answer(connection))
    for pem in pems:
        if hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() == root_hash:
            return pem
    raise EnrolmentError(
        REFUSED,
        f"{server.url} shows another CA than the one the token was made for",
        "check the address; if the CA was replaced, ask for a new token",
    )


def verified_context(roots: str) -> ssl.SSLContext:
    """Verifies the chain. Instead of a host name the identity is checked, by ControlPlane."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=roots)
    return context


class ControlPlane:
    """A server that has to prove to be the control plane before anything is said to it."""

    def __init__(self, server: Server, trust_domain: str, context: ssl.SSLContext) -> None:
        self.server, self.context = server, context
        self.identity = f"spiffe://{trust_domain}{CONTROL_PLANE}"

    def exchange(self, credentials: Credentials, path: str, headers: dict[str, str]) -> Certificate:
        """Have the next key signed, check all of the answer, put it in use."""
        key = credentials.next_key()
        headers = {
            "Content-Type": "application/pkcs10",
            "Content-Transfer-Encoding": "base64",
            **headers,
        }
        answer = self.ask("POST", path, base64.encodebytes(signing_request(key)), headers)
        between, roots = self.authorities()
        leaf = answer[0]
        certificate = Certificate(leaf)
        if certificate.starts > now():
            raise EnrolmentError(
                REFUSED,
                f"the new certificate is not valid before {stamp(certificate.starts)}",
                f"this machine's clock says {stamp(now())}; set it and run this again",
            )
        check_chain(leaf, between, roots, key)
        credentials.publish(key.read_bytes(), "".join((leaf, *between)), "".join(roots))
        key.unlink()
        return certificate

    def refresh_roots(self, credentials: Credentials) -> None:
        """Learn new roots before anything is signed by them; key and certificate stay."""
        _, roots = self.authorities()
        if set(roots) != set(PEM.findall((credentials.data / "root.pem").read_text())):
            key, chain = credentials.data / "key.pem", credentials.data / "cert.pem"
            credentials.publish(key.read_bytes(), chain.read_text(), "".join(roots))
            say(f"roots replaced: there are {len(roots)} now")

    def authorities(self) -> tuple[list[str], list[str]]:
        """Intermediates and roots. An answer without roots is no answer."""
        pems = self.ask("GET", "/cacerts", b"", {})
        roots = [pem for pem in pems if Certificate(pem).is_root]
        if not roots:
            raise EnrolmentError(UNAVAILABLE, f"{self.server.url} answered without a root certificate")
        return [pem for pem in pems if pem not in roots], roots

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> list[str]:
        with self.server.connected(self.context) as connection:
            peer = connection.sock.getpeercert() or {}
            found = [str(name[1]) for name in peer.get("subjectAltName", ()) if name[0] == "URI"]
            if found != [self.identity]:
                raise EnrolmentError(
                    REFUSED,
                    f"{self.server.url} shows the identity {', '.join(found) or 'none'}, "
                    f"expected {self.identity}",
                    "this is not the control plane; nothing was sent to it",
                )
            connection.request(method, EST + path, body or None, headers)
            return certificates_in(self.server.answer(connection))


class Certificate:
    """What is read of a certificate: whose it is, and from when to when."""

    def __init__(self, pem: str) -> None:
        text = openssl("x509", "-noout", "-text", stdin=pem.encode()).decode(errors="replace")
        identity = re.search(r"URI:(spiffe://[^\s,]+)", text)
        self.identity = identity.group(1) if identity else ""
        self.is_root = self.field(text, "Issuer") == self.field(text, "Subject")
        self.starts = ssl.cert_time_to_seconds(self.field(text, "Not Before"))
        self.ends = ssl.cert_time_to_seconds(self.field(text, "Not After"))

    @staticmethod
    def field(text: str, name: str) -> str:
        found = re.search(rf"\b{name} *: *(.*)", text)
        if not found:
            raise EnrolmentError(REFUSED, f"openssl shows no {name!r} in a certificate")
        return found.group(1).strip()

    @property
    def trust_domain(self) -> str:
        return self.identity[len("spiffe://") :].partition("/")[0]

    def due(self) -> float:
        """Half of its life, give or take one percent, so that machines do not renew in step."""
        return self.starts + (self.ends - self.starts) * random.uniform(0.49, 0.51)  # noqa: S311


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    """What the command prints. Keys and certificates go through files and pipes, not arguments."""
    command = ["openssl", *arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        raise EnrolmentError(
            MISUSED, "there is no openssl on this machine", "install it: apt-get install openssl"
        ) from None
    except subprocess.TimeoutExpired:
        raise EnrolmentError(UNAVAILABLE, f"openssl {arguments[0]} did not end within 60 s") from None
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode(errors="replace").strip().splitlines()[-2:])
        raise EnrolmentError(REFUSED, f"openssl {arguments[0]} failed: {reason}")
    return done.stdout


def signing_request(key: Path) -> bytes:
    """A PKCS#10 request. The control plane does not read its subject, so it says nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".cnf") as config:
        config.write("[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=whoever proves it\n")
        config.flush()
        return openssl("req", "-new", "-sha256", "-key", str(key), "-config", config.name, "-outform", "DER")


def certificates_in(body: bytes) -> list[str]:
    """The PEM blocks of a base64 PKCS#7, as EST answers (RFC 7030, 4.1.3)."""
    try:
        text = openssl("pkcs7", "-inform", "DER", "-print_certs", stdin=base64.b64decode(body)).decode()
    except ValueError:
        text = ""
    except EnrolmentError as error:
        # That openssl is not there, or hangs, says nothing about the answer.
        if error.code != REFUSED:
            raise
        text = ""
    found = PEM.findall(text)
    if not found:
        raise EnrolmentError(UNAVAILABLE, "the server answered something else than EST certificates")
    return found


def check_chain(leaf: str, between: list[str], roots: list[str], key: Path) -> None:
    """Nothing is put in use that Envoy would refuse, or that is not for our key."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, pems in (("leaf", [leaf]), ("between", between), ("roots", roots)):
            (folder / file).write_text("".join(pems))
        untrusted = ("-untrusted", str(folder / "between")) if between else ()
        openssl("verify", "-CAfile", str(folder / "roots"), *untrusted, str(folder / "leaf"))
    if openssl("x509", "-noout", "-pubkey", stdin=leaf.encode()) != openssl(
        "pkey", "-in", str(key), "-pubout"
    ):
        raise EnrolmentError(REFUSED, "the control plane signed a key that is not this machine's")


def now() -> float:
    return time.time()  # noqa: TID251 (a program of its own)


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def on_disk(error: OSError, directory: Path) -> EnrolmentError:
    return EnrolmentError(MISUSED, f"could not use {error.filename or directory}: {error.strerror}")


def report(error: EnrolmentError) -> None:
    for label, text in (("error", str(error)), ("hint", error.hint)):
        if text:
            print(f"{label}: {text}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
