"""Services from Consul, by few blocking queries and targeted reads.

Where what is:

- :mod:`registries.consul.registry`: the registry itself: connects, tells how fresh it is, starts over;
- :mod:`registries.consul.following`: one connection: which blocking queries run, and what each of them says;
- :mod:`registries.consul.seen`: which services have to be read again;
- :mod:`registries.consul.reading` and :mod:`registries.consul.sweeping`: reads them, and finds the others;
- :mod:`registries.consul.pace`: how patient all of this is;
- :mod:`registries.consul.shapes`: what is a registration at all;
- :mod:`registries.consul.instances`, :mod:`registries.consul.places`, :mod:`registries.consul.agreement` and
  :mod:`registries.consul.mapping`: Consul's words, and ours;
- :mod:`registries.consul.notes`: what all services say together, and who wins where two say one thing;
- :mod:`registries.consul.access`: where Consul is, and as whom it is asked;
- :mod:`registries.consul.client`: the one door to py-consul;
- :mod:`registries.consul.refusals`: what it means when Consul answers that it does not.

Consul is only read here.
"""

from registries.consul.pace import Pace
from registries.consul.registry import ConsulRegistry

__all__ = ["ConsulRegistry", "Pace"]
