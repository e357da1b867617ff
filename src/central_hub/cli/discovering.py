"""`instances`, `route`: which instances of a service there are, and which one to call."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from central_hub.cli import watching_instances
from central_hub.cli.options import READING, Environment, parse_environment
from central_hub.cli.session import ExitCode, Failed, Session, command
from central_hub_client.routing.balancer import check_arguments
from central_hub_client.routing.policy import Fallback, Policy
from central_hub_client.service_instance import ServiceInstance
from central_hub_client.wire import DEFAULT_ENVIRONMENT, is_service_name


def parse_runnable(name: str) -> str:
    if not is_service_name(name):
        raise typer.BadParameter(f"{name!r} cannot name a service that has instances")
    return name


def parse_label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text!r} is not name=value")
    return name, value


Runnable = Annotated[str, typer.Argument(parser=parse_runnable, metavar="SERVICE", help="Which service.")]
AnyRunnable = Annotated[
    str | None,
    typer.Argument(parser=parse_runnable, metavar="[SERVICE]", help="Which service; by default every one."),
]
AnyEnvironment = Annotated[
    str | None,
    typer.Option(
        "--environment",
        "-e",
        parser=parse_environment,
        envvar="CENTRAL_HUB_ENVIRONMENT",
        metavar="NAME",
        help="Only of this environment. By default of all of them.",
    ),
]
State = Annotated[str | None, typer.Option("--state", metavar="STATE", help="Only those in this state.")]
Capability = Annotated[str | None, typer.Option("--capability", metavar="NAME", help="Only those that can do this.")]
Zone = Annotated[str | None, typer.Option("--zone", metavar="ZONE", help="Only those in this zone.")]
Labels = Annotated[
    list[Any] | None,
    typer.Option(
        "--label",
        parser=parse_label,
        metavar="NAME=VALUE",
        help="Only those with this label. Repeatable.",
        show_default=False,
    ),
]
Metadata = Annotated[
    list[Any] | None,
    typer.Option(
        "--metadata",
        parser=parse_label,
        metavar="NAME=VALUE",
        help="Only those whose metadata says so; what is no text is written as JSON. Repeatable.",
        show_default=False,
    ),
]
AnyPolicy = Annotated[
    Policy | None,
    typer.Option(
        "--policy",
        help="How one of several is chosen. By default in turn; by a key or zone where one is given.",
        show_default=False,
    ),
]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="The same key, the same instance.")]
CallersZone = Annotated[
    str | None, typer.Option("--zone", metavar="ZONE", help="One of this zone, where it has anybody to call.")
]


Watch = Annotated[
    bool,
    typer.Option("--watch", help="Go on, with a line for each that changes. Ctrl-C ends it. Takes one service."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(instances)
    command(app, READING)(route)


def instances(
    session: Session,
    service: AnyRunnable = None,
    environment: AnyEnvironment = None,
    state: State = None,
    capability: Capability = None,
    zone: Zone = None,
    labels: Labels = None,
    metadata: Metadata = None,
    watch: Watch = False,
) -> None:
    """List instances: where they are, what they run, and how they are."""
    if watch:
        if service is None or state or capability or zone or labels or metadata:
            raise Failed("--watch follows all instances of one service: name it, and no filter", code=ExitCode.USAGE)
        watching_instances.follow(session, service, environment or DEFAULT_ENVIRONMENT, _line)
        return
    filters: dict[str, Any] = {
        "environment": environment,
        "state": state,
        "capability": capability,
        "zone": zone,
        **{f"label.{name}": value for name, value in labels or ()},
        **{f"metadata.{name}": value for name, value in metadata or ()},
    }
    found = list(listed(session, service, **filters))
    if session.output.as_json:
        session.output.json(found)
        return
    if not found:
        session.output.note("no instance fits" if any(filters.values()) else "no instance is registered")
        return
    columns = ("service", "environment", "instance", "state", "url", "zone", "weight", "version", "last seen")
    session.output.table(columns, [_row(instance) for instance in found])


def route(
    session: Session,
    service: Runnable,
    policy: AnyPolicy = None,
    key: Key = None,
    zone: CallersZone = None,
    environment: Environment = DEFAULT_ENVIRONMENT,
) -> None:
    """Print where to call one healthy instance of a service.

    The output is its URL, or its id where it has not told its host: `curl "$(central-hub route billing)/orders"`. Exits
    with 1 where none can be called.
    """
    policy = policy or _implied(key, zone)
    try:
        check_arguments(policy, key=key, zone=zone)
    except ValueError as error:
        raise Failed(str(error), code=ExitCode.USAGE) from error
    query = {"policy": policy, "key": key, "zone": zone}
    answer = session.hub.get(f"/discovery/{service}/route", environment=environment, **query).value
    if session.output.as_json:
        session.output.json(answer)
        return
    instance = answer["instance"]
    session.output.text(_url(instance) or instance["instance_id"])
    session.output.note(f"instance {instance['instance_id']}{_where(instance)}")
    if Fallback.OTHER_ZONE in answer["fallbacks"]:
        session.output.warn(f"no instance of zone {zone} can be called")
    if Fallback.DEGRADED in answer["fallbacks"]:
        session.output.warn("it is degraded: no instance is healthy")
    if Fallback.KEPT in answer["fallbacks"]:
        session.output.warn(f"the hub has not heard of it since {instance['last_seen']}, nor of most others")


def listed(session: Session, service: str | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
    """The instances that all filters let through, page by page."""
    for page in session.hub.pages(f"/discovery/{service or ''}", **filters):
        yield from page["instances"]


def _implied(key: str | None, zone: str | None) -> Policy:
    if key is not None:
        return Policy.CONSISTENT_HASH
    return Policy.ROUND_ROBIN if zone is None else Policy.SAME_ZONE


def _row(instance: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        instance["service"],
        instance["environment"],
        instance["instance_id"],
        _state(instance),
        _url(instance) or "",
        instance["zone"] or "",
        str(instance["weight"]),
        instance["version"] or instance["build"] or "",
        instance["last_seen"],
    )


def _line(instance: Mapping[str, Any]) -> str:
    """How an instance is, for those who watch."""
    parts = (_state(instance), _url(instance), instance["zone"], instance["version"] or instance["build"])
    weight = "" if instance["weight"] == 1 else f"  weight {instance['weight']}"
    return "  ".join(part for part in parts if part) + weight


def _state(instance: Mapping[str, Any]) -> str:
    drain = instance.get("drain")  # an older hub tells none
    if drain is None:
        return str(instance["state"])
    why = "" if drain["reason"] is None else f": {drain['reason']}"
    return f"{instance['state']} (drained by {drain['by']}{why})"


def _url(instance: Mapping[str, Any]) -> str | None:
    return ServiceInstance.from_json(instance).url


def _where(instance: Mapping[str, Any]) -> str:
    return "" if instance["zone"] is None else f" in zone {instance['zone']}"
