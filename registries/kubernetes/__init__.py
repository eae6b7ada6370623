"""Services from clusters: list-watch, conversion, credentials.

Where what is:

- :mod:`registries.kubernetes.registry`: one cluster as a registry: what is heard, and when it is answered;
- :mod:`registries.kubernetes.reflector`: one kind of object, listed and watched; :mod:`.table` holds it;
- :mod:`registries.kubernetes.hearing`: how well each kind is heard;
- :mod:`registries.kubernetes.resources`: the kinds that are listed, and where they are found;
- :mod:`registries.kubernetes.objects`: the fields that are needed of an object; :mod:`.fields` reads them;
- :mod:`registries.kubernetes.inventory`: what belongs together, and what has to be joined; :mod:`.index`;
- :mod:`registries.kubernetes.joining`: what a Service, its slices and its Pods say together;
- :mod:`registries.kubernetes.declared`: what a Service alone says;
- :mod:`registries.kubernetes.reading`: the user's choices for one cluster;
- :mod:`registries.kubernetes.access`, :mod:`.accounts`, :mod:`.kubeconfig`, :mod:`.programs`: credentials;
- :mod:`registries.kubernetes.connection` and :mod:`.client`: a connection that outlives them; HTTP;
- :mod:`registries.kubernetes.json_lists` and :mod:`.turn`: large answers that do not keep the loop;
- :mod:`registries.kubernetes.review`: whose a token is;
- :mod:`registries.kubernetes.secrets`: certificates of gateways, by name.

The cluster is only read here.
"""

from registries.kubernetes.accounts import InCluster, Kubeconfig
from registries.kubernetes.reading import Reading
from registries.kubernetes.registry import KubernetesRegistry
from registries.kubernetes.review import Reviewed, TokenReviews
from registries.kubernetes.secrets import Secrets

__all__ = [
    "InCluster",
    "Kubeconfig",
    "KubernetesRegistry",
    "Reading",
    "Reviewed",
    "Secrets",
    "TokenReviews",
]
