"""How far a service's latest configuration has got: who runs it, who refused it, and where it is hidden."""

from fastapi import Request, Response

from central_hub.api.auth import authorise_instances
from central_hub.api.v1.fleet import told
from central_hub.api.v1.reading import answer_json, reach_minimum
from central_hub.config.history import no_document
from central_hub.config.layering import layers_of, shared_keys
from central_hub.coordination.convergence import converge
from central_hub.security.tokens import Grant
from central_hub.service import CentralHubService


async def answer_status(
    hub: CentralHubService, request: Request, grant: Grant, service: str, environment: str
) -> Response:
    """The status of a service in an environment. Raises NotFound where it has neither configuration nor instances."""
    authorise_instances(grant, service, environment)
    applied = await reach_minimum(hub, request)
    now = hub.coordination.clock()
    instances = [
        instance for instance in hub.coordination.fleet.of_service(service, now) if instance.environment == environment
    ]
    found = hub.tail.snapshot.find(service, environment)
    if found is None and not instances:
        raise no_document(service, environment)
    latest = None if found is None else found.object.position
    changed: list[str] = []
    if latest is not None and any(instance.report.shadowed for instance in instances):
        changed = await hub.history.altered_by(service, environment, latest.revision)
    unused = {key for instance in instances for key in (*instance.report.unknown, *instance.report.unread)}
    shared = shared_keys(layers_of(hub.tail.snapshot.document, service, environment), unused)
    convergence = converge(instances, latest, changed, now)
    return answer_json(hub, applied, told(convergence, service, environment, latest, shared))
