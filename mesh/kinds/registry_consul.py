"""Consul as a registry: where it is, what of it is read, and how its words become ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from mesh.kinds.frozen import FrozenMap
from mesh.kinds.kind import Flag, Kind, Text, Texts, Unsigned
from mesh.kinds.rules import dns_label, domain, each, label_pairs, port, protocol, wrong
from mesh.places import Place
from mesh.problems import Problem

DEFAULT_PARTITION = "default"
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_VARIABLES = ("name", "namespace", "datacenter", "partition")
_SOURCE = re.compile(r"(?:service|node)(?:\.[a-z0-9_-]+)?")
_METAS = ("namespace", "account", "protocol", "port_name", "port", "network", "region", "zone", "subzone")


class ConsulMapping(Kind):
    """How a Consul service becomes a service of the mesh.

    ``hostnames`` are templates of ``{name}``, ``{namespace}`` (of the mesh), ``{datacenter}`` and
    ``{partition}``. The ``…Meta`` fields name the key of a service instance's meta that says it; a tag
    ``key=value`` says the same.
    """

    hostnames: Texts = ("{name}.service.consul",)
    namespace: Text = "default"
    """Where no instance's meta says one."""
    namespaces: Texts = ()
    """Others that an instance's meta may name; ``*`` is any. Who may register a service then speaks for them:
    a namespace is part of an identity, and of what policies select."""
    namespace_meta: Text = "namespace"
    account_meta: Text = "serviceAccount"
    protocol_meta: Text = "protocol"
    port_name_meta: Text = "portName"
    port_meta: Text = "servicePort"
    port: Unsigned = 0
    """The port that clients call; 0: what the meta says, else the lowest port that an instance has."""
    protocol: Text = ""
    """Where an instance says none."""
    addresses: Texts = ("service", "node")
    """Where an instance's address is taken from, the first that has one: ``service``, ``node``, or a tagged
    address of either, such as ``service.lan_ipv6`` or ``node.wan``."""
    network_meta: Text = "network"
    """Of the instance, else of its node."""
    region_meta: Text = "region"
    zone_meta: Text = "zone"
    subzone_meta: Text = "subzone"
    """Keys of the *node's* meta, for the locality; the region is the datacenter where the node says none."""
    labels: FrozenMap[Text, Text] = FrozenMap()
    """Given to every instance; its own meta and tags win."""

    def may_name(self, namespace: str) -> bool:
        """Whether an instance may say that it is of this namespace."""
        return namespace == self.namespace or not {"*", namespace}.isdisjoint(self.namespaces)


class Consul(Kind):
    """One Consul datacenter (and partition and namespace, where the server has them)."""

    address: Text = ""
    """``http://host:port`` or ``https://…``; may be left out where the credentials hold it."""
    secret_ref: Text = ""
    """The name of credentials (a folder of the operator's): ``address``, ``token``, ``ca.crt``, ``tls.*``."""
    datacenter: Text = ""
    partition: Text = ""
    namespace: Text = ""
    include: Texts = ()
    """Names of Consul services, ``*`` allowed at either end; nothing means all."""
    exclude: Texts = ("consul",)
    tags: Texts = ()
    """Only instances that have all of these."""
    serve_warning: Flag = False
    """Whether instances in state ``warning`` serve, too."""
    mapping: ConsulMapping = ConsulMapping()

    def selects(self, name: str) -> bool:
        """Whether a service of that name is read at all. Consul's names differ by more than case."""
        is_included = not self.include or any(_matches(pattern, name) for pattern in self.include)
        return is_included and not any(_matches(pattern, name) for pattern in self.exclude)


def _matches(pattern: str, name: str) -> bool:
    pattern, name = pattern.lower(), name.lower()
    if pattern.startswith("*") and pattern.endswith("*"):
        return pattern.strip("*") in name
    if pattern.startswith("*"):
        return name.endswith(pattern[1:])
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def filled(template: str, **values: str) -> str:
    """The template with its variables replaced; nothing else in it has a meaning."""
    return _VARIABLE.sub(lambda found: values[found[1]], template)


def check(consul: Consul, where: Place, at: str) -> Iterator[Problem]:
    """What the settings of one Consul show by themselves."""
    yield from wrong(where, f"{at}.address", _address(consul))
    if consul.secret_ref:
        yield from wrong(where, f"{at}.secretRef", _secret(consul.secret_ref))
    for name in ("datacenter", "partition", "namespace"):
        if value := getattr(consul, name):
            yield from wrong(where, f"{at}.{name}", _word(value))
    yield from each(where, f"{at}.include", consul.include, _pattern)
    yield from each(where, f"{at}.exclude", consul.exclude, _pattern)
    yield from each(where, f"{at}.tags", consul.tags, _tag)
    yield from _mapping(consul.mapping, where, f"{at}.mapping")


def _mapping(mapping: ConsulMapping, where: Place, at: str) -> Iterator[Problem]:
    if not mapping.hostnames:
        yield from wrong(where, f"{at}.hostnames", "expected at least one template")
    yield from each(where, f"{at}.hostnames", mapping.hostnames, _template)
    yield from wrong(where, f"{at}.namespace", dns_label(mapping.namespace))
    for name in _METAS:
        if not getattr(mapping, f"{name}_meta"):
            head, *rest = name.split("_")
            path = f"{at}.{head}{''.join(word.title() for word in rest)}Meta"
            yield from wrong(where, path, "expected the key of a meta, found nothing")
    if mapping.port:
        yield from wrong(where, f"{at}.port", port(mapping.port))
    yield from wrong(where, f"{at}.protocol", protocol(mapping.protocol))
    if not mapping.addresses:
        yield from wrong(where, f"{at}.addresses", "expected at least one of service, node")
    yield from each(where, f"{at}.addresses", mapping.addresses, _source)
    yield from label_pairs(where, f"{at}.labels", dict(mapping.labels))


def _address(consul: Consul) -> str:
    text = consul.address
    if not text:
        return "" if consul.secret_ref else "expected an address, or a secretRef whose credentials hold one"
    return not_an_address(text)


def not_an_address(text: str) -> str:
    """A URL of scheme, host and port; without a path, a query, and above all without a password."""
    expected = "expected http://host:port or https://host:port"
    try:
        parts = urlsplit(text)
        number = parts.port
    except ValueError:
        return f"not an address: {text!r} ({expected})"
    if parts.username is not None or parts.password is not None:
        return f"credentials stand in a folder of the operator's, not in an address ({expected})"
    has_more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in {"http", "https"} or not parts.hostname or number == 0 or has_more:
        return f"not an address: {text!r} ({expected})"
    return ""


def _secret(name: str) -> str:
    return dns_label(name) or ("" if name == name.lower() else f"not in lower case: {name!r}")


def _word(text: str) -> str:
    """Names of datacenters, partitions and namespaces. Consul, ``agent/config``."""
    return (
        "" if re.fullmatch(r"[A-Za-z0-9_-]+", text) else f"expected letters, digits, - and _, found {text!r}"
    )


def _pattern(text: str) -> str:
    if not text.strip("*") and text != "*":
        return f"not the name of a service: {text!r}"
    if "*" in text[1:-1]:
        return f"expected '*' at an end only, found {text!r}"
    return ""


def _tag(text: str) -> str:
    return "" if text else "expected a tag, found nothing"


def _template(text: str) -> str:
    """Known variables, ``{name}`` among them, and a host name when they are filled in."""
    found = _VARIABLE.findall(text)
    for name in found:
        if name not in _VARIABLES:
            known = ", ".join(f"{{{one}}}" for one in _VARIABLES)
            return f"unknown variable {{{name}}} in {text!r} (known are {known})"
    if "name" not in found:
        return f"expected {{name}} in {text!r}: all services would share one host"
    example = filled(text, **dict.fromkeys(_VARIABLES, "x"))
    return f"{text!r} makes no host name: {domain(example)}" if domain(example) else ""


def _source(text: str) -> str:
    if _SOURCE.fullmatch(text):
        return ""
    return f"expected service, node, service.<tag> or node.<tag>, found {text!r}"
