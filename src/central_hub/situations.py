"""Where the areas meet: how the infrastructure is, and how services are on top of it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from central_hub.coordination.fleet import Member
from central_hub.coordination.service_health import Dependency, ServiceHealth, roll_up
from central_hub.monitoring.infrastructure import Infrastructure, Need
from central_hub.monitoring.situation import Observed, Situation
from central_hub.storage.target_values import Target


def situation_of(
    infrastructure: Infrastructure, targets: Mapping[str, Target], services: Iterable[str] | None = None
) -> Situation:
    """The components as they were probed; of the services only these, where they are named."""
    if services is not None:
        seen = {name: infrastructure.services[name] for name in services if name in infrastructure.services}
        infrastructure = replace(infrastructure, services=seen)
    return Situation(infrastructure, {name: Observed(target.state, target.reason) for name, target in targets.items()})


def health_of(service: str, members: Iterable[Member], situation: Situation) -> ServiceHealth:
    """How a service is in one environment, by its instances and by what it depends on."""
    depends_on = situation.dependencies_of(service)
    return roll_up(
        members, [Dependency(each.name, each.need is Need.REQUIRED, each.state, each.reason) for each in depends_on]
    )
