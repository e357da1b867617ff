"""Write docs/reference/ from the code, or with --check say what there has drifted from it.

Nothing here describes anything: every sentence on those pages stands in the code that it is about. The one exception
is the client's environment variables, whose names are held against the code.
"""

import ast
import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

import central_hub_client
from central_hub.api.app import create_routes
from central_hub.cli.program import app as command_line
from central_hub.errors import HubError
from central_hub.monitoring import file_format
from central_hub.monitoring.component_types import TYPES
from central_hub.monitoring.file_schema import file_schema
from central_hub.monitoring.probes.connection import ConnectionOptions
from central_hub.monitoring.probes.options import OPTIONS, ProbeOptions
from central_hub.service import CentralHubService
from central_hub.settings import HubSettings
from central_hub_client.errors import error_from

REFERENCE = Path(__file__).with_name("reference")
_NOTE = "<!-- Written by docs/generate.py from the code: change that, then run `make docs`. -->"

CLIENT_VARIABLES = {
    "URL": "Where the hub is, `http://…` or `https://…`. Without it a client has no hub and says so.",
    "TOKEN": "The token that the service shows. The verb `read` for its own name and environment is enough.",
    "ENVIRONMENT": "The environment whose configuration is asked for; by default `default`.",
    "NATS_URL": "NATS servers, comma-separated, with credentials. Counts only where NATS is asked for in the code.",
    "CACHE_DIR": "Where the last known good configuration is kept; by default `central-hub` in `$XDG_CACHE_HOME` or"
    " `~/.cache`.",
    "TRUSTED_KEYS": "Public keys of the hub's replicas, base64, comma-separated. Without them, keys that came over"
    " HTTPS or loopback are remembered.",
    "SEED_FILE": "A configuration baked into an image, used while nothing better is known.",
}


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as directory:
        written = {f"{name}.md": f"{_NOTE}\n\n{page()}" for name, page in pages(Path(directory)).items()}
    written["infrastructure.schema.json"] = json.dumps(file_schema(), indent=2, ensure_ascii=False) + "\n"
    if arguments == ["--check"]:
        return _report(drifted(written))
    if arguments:
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 2
    REFERENCE.mkdir(exist_ok=True)
    for stray in {path.name for path in REFERENCE.iterdir()} - set(written):
        (REFERENCE / stray).unlink()
    for name, text in written.items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    return 0


def pages(directory: Path) -> dict[str, Callable[[], str]]:
    """The pages by name. `directory` is where the hub that is asked may leave its key file."""
    hub = a_hub(directory)
    return {
        "routes": lambda: routes(hub),
        "settings": settings,
        "cli": cli,
        "errors": errors,
        "metrics": lambda: metrics(hub),
        "client-settings": client_settings,
        "infrastructure": infrastructure,
        "probes": probes,
    }


def a_hub(directory: Path) -> CentralHubService:
    """A hub with all its parts that is never started: nothing of it connects anywhere."""
    return CentralHubService(
        HubSettings(database_url=SecretStr("postgresql://reader@nowhere/nothing"), data_dir=directory)
    )


def drifted(written: dict[str, str]) -> list[str]:
    """The names of the pages that are not what the code says, that are missing, or that should not be there."""
    there = {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.glob("*")}
    return sorted(name for name in written | there if written.get(name) != there.get(name))


def routes(hub: CentralHubService) -> str:
    """Every route with its verb, parameters, body and answers."""
    openapi = create_routes(hub).openapi()
    verbs = _verbs(hub)
    sections = []
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            verb = verbs[method.upper(), path]
            sections += [f"## {method.upper()} {path}", operation["description"]]
            sections += [f"Verb: {f'`{verb}`' if verb else 'none'}."]
            sections += [_parameters(operation), _body(operation), _answers(operation)]
    return _page(
        "Routes",
        "From the OpenAPI document, which a hub serves at `/openapi.json` and, for people, at `/docs`; both need a"
        " token. Every route under `/api/v1` also answers under the old prefix `/api`, with `Deprecation` and `Sunset`"
        " headers."
        " What goes wrong is told as in [errors](errors.md).",
        *sections,
    )


def settings() -> str:
    """Every field of HubSettings."""
    prefix = HubSettings.model_config["env_prefix"]
    rows = []
    for name, field in HubSettings.model_fields.items():
        default = "" if field.default_factory or field.default in (None, "") else f"`{field.default}`"
        rows.append((f"`{prefix}{name.upper()}`", default, field.description or ""))
    return _page(
        "Settings of the hub",
        "Environment variables, read once at the start. An empty one counts as not set.",
        _table(("variable", "default", "what"), rows),
    )


def cli() -> str:
    """Every command with its arguments and options."""
    root: Any = typer.main.get_command(command_line)
    sections = []
    for path, command in _commands(root, "central-hub"):
        sections += [f"## {path}", _paragraphs(command.help or ""), _options(command)]
    return _page("Command line", _paragraphs(root.help or ""), _options(root), *sections)


def errors() -> str:
    """Every error that the hub answers with, and what the client raises for it."""
    rows = [
        (str(error.status), f"`{error.code}`", error.title, f"`{_raised_by_the_client(error)}`")
        for error in sorted(_subclasses(HubError), key=lambda error: (error.status, error.code))
    ]
    return _page(
        "Errors",
        "Answers of the type `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`, `code`, and"
        " where several things are wrong `errors` with `pointer` (a JSON Pointer into the document), `code` and"
        " `message`."
        " The `code` is stable; `detail` is a sentence for people. 429 and 503 come with `Retry-After`.",
        _table(("status", "code", "title", "raised by the client as"), rows),
    )


def metrics(hub: CentralHubService) -> str:
    """Every series of `/metrics`."""
    rows = sorted(
        (f"`{family.name}{'_total' if family.type == 'counter' else ''}`", family.type, family.documentation)
        for family in hub.metrics.registry.collect()
    )
    return _page("Metrics", "What `GET /metrics` answers, in the Prometheus text format.", _table(_SERIES, rows))


def client_settings() -> str:
    """The environment variables that the client reads."""
    rows = [(f"`CENTRAL_HUB_{name}`", sentence) for name, sentence in CLIENT_VARIABLES.items()]
    return _page(
        "Settings of the client",
        "Arguments to `ConfigClient` come first, then these. A wrong value is left out and logged; it never keeps a"
        " service from starting.",
        _table(("variable", "what"), rows),
    )


def infrastructure() -> str:
    """Every key of infrastructure.yaml, from the models that it is held against."""
    sections = []
    for title, model in INFRASTRUCTURE.items():
        schema = model.model_json_schema()
        required = schema.get("required", ())
        rows = [
            (
                f"`{name}`",
                _type_in_the_file(described, schema),
                "required" if name in required else _default_in_the_file(described),
                described.get("description", ""),
            )
            for name, described in schema.get("properties", {}).items()
        ]
        sections += [
            f"## {title}",
            inspect.cleandoc(model.__doc__ or ""),
            _table(("key", "type", "default", "what"), rows),
        ]
    return _page(
        "infrastructure.yaml",
        "The file that `CENTRAL_HUB_INFRASTRUCTURE_FILE` names. How to write it: [describe the"
        " infrastructure](../how-to/describe-the-infrastructure.md). For editors and pipelines:"
        " [infrastructure.schema.json](infrastructure.schema.json).",
        "Unknown keys are refused. In every text, `${NAME}` is the environment variable of that name and an error where"
        " it is not set or empty, `${NAME:-default}` has a default, and `$${` is a literal `${`. A *credential* is"
        ' `${NAME}` alone, `{$secret: "env://NAME"}` or `{$secret: "file:///path"}`, and nothing else; where keys'
        " are free, what is named like one is one. Names are lower-case letters, digits and hyphens.",
        *sections,
    )


def probes() -> str:
    """Every kind of probe with its options."""
    sections = []
    for kind, model in OPTIONS.items():
        types = [f"`{name}`" for name, known in TYPES.items() if known.probe == kind]
        own = {name: field for name, field in model.model_fields.items() if name not in ProbeOptions.model_fields}
        sections += [f"## {kind}", f"For components of the type {', '.join(types)}. {_paragraphs(model.__doc__ or '')}"]
        sections += [_fields(own) if own else ""]
    return _page(
        "Probes",
        "What may stand in the `probe` of a component in `infrastructure.yaml`, besides `kind`, `interval_seconds`,"
        " `timeout_seconds`, `failures` and `successes`. A probe makes a connection of its own every time, and all of"
        " it, from looking up the name to closing, takes no longer than `timeout_seconds`. What it finds is told in a"
        " sentence that shows no credential and nothing that the target said but a status or the code of an error."
        " Where the hub itself is at fault, because a credential is missing or no name server answers, nothing is"
        " known of the target, and its state stays as it was.",
        "Other kinds come [from other packages](../how-to/write-a-probe.md).",
        "## Every kind",
        _fields(ProbeOptions.model_fields),
        "## The component's own options",
        "They are the component's, not the probe's, because services connect by them too.",
        _fields(ConnectionOptions.model_fields),
        *sections,
    )


def client_variables_in_the_code() -> set[str]:
    """The names after `CENTRAL_HUB_` that the client package looks up."""
    found: set[str] = set()
    for path in Path(central_hub_client.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "variable":
                found |= {str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)}
    return found


INFRASTRUCTURE: dict[str, type[BaseModel]] = {
    "The file": file_format.File,
    "Component": file_format.Component,
    "Probe": file_format.Probe,
    "Maintenance": file_format.Maintenance,
    "Alerts": file_format.Alerts,
    "Rule": file_format.Rule,
    "When": file_format.When,
    "Channel log": file_format.LogChannel,
    "Channel webhook": file_format.WebhookChannel,
    "Channel apprise": file_format.AppriseChannel,
    "Channel nats": file_format.NatsChannel,
}
"""Of infrastructure.yaml, each part with the model that it is held against."""

_SERIES = ("series", "type", "what")


def _verbs(hub: CentralHubService) -> dict[tuple[str, str], str | None]:
    """For every route the verb that its token needs, read from the dependency that asks for it."""
    found: dict[tuple[str, str], str | None] = {}
    for route in iter_route_contexts(create_routes(hub).routes):
        dependencies = route.dependant.dependencies if hasattr(route, "dependant") else []
        asked = [inspect.getclosurevars(dependency.call).nonlocals.get("verb") for dependency in dependencies]
        for method in route.methods or ():
            found[method, route.path or ""] = next((verb for verb in asked if verb is not None), None)
    return found


def _type_in_the_file(described: dict[str, Any], root: dict[str, Any]) -> str:
    """A type in words, such as `list of text`."""
    alternatives = described.get("anyOf") or described.get("oneOf") or [described]
    return " or ".join(dict.fromkeys(_one_type(found, root) for found in alternatives if found.get("type") != "null"))


def _one_type(described: dict[str, Any], root: dict[str, Any]) -> str:
    if "$ref" in described:
        name = described["$ref"].rpartition("/")[2]
        found = root["$defs"][name]
        if "enum" not in found:
            return next(f"*{title}*" for title, model in INFRASTRUCTURE.items() if model.__name__ == name)
        described = found
    if "enum" in described or "const" in described:
        choices = described.get("enum") or [described["const"]]
        return ", ".join(f"`{_value(choice)}`" for choice in choices)
    if described.get("x-secret"):
        return "credential"
    match described.get("type"):
        case "array":
            return f"list of {_type_in_the_file(described['items'], root)}"
        case "object" if isinstance(inner := described.get("additionalProperties"), dict):
            return f"mapping of names to {_type_in_the_file(inner, root)}"
        case "object":
            return "anything"
        case kind:
            return {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}[
                str(kind)
            ]


def _default_in_the_file(described: dict[str, Any]) -> str:
    default = described.get("default")
    return "" if default in (None, "", [], {}) else f"`{_value(default)}`"


def _fields(fields: Mapping[str, FieldInfo]) -> str:
    def default(value: Any) -> str:
        return f"`{_value(value)}`" if isinstance(value, str | int) else ""

    rows = [(f"`{name}`", default(field.default), field.description or "") for name, field in fields.items()]
    return _table(("option", "default", "what"), rows)


def _parameters(operation: dict[str, Any]) -> str:
    rows = []
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"]
        default = f"`{_value(schema['default'])}`" if schema.get("default") not in (None, []) else ""
        description = parameter.get("description") or schema.get("description", "")
        needed = "required" if parameter.get("required") else default
        rows.append((f"`{parameter['name']}`", parameter["in"], needed, description))
    return _table(("parameter", "in", "default", "what"), rows) if rows else ""


def _body(operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    lines = []
    for media_type, described in content.items():
        schema = described["schema"]
        required = set(schema.get("required", ()))
        fields = [f"`{name}`{' (required)' if name in required else ''}" for name in schema.get("properties", {})]
        lines.append(f"- Body `{media_type}`: {', '.join(fields) if fields else _kind(schema)}.")
    return "\n".join(lines)


def _answers(operation: dict[str, Any]) -> str:
    # What FastAPI writes where a route describes no answer says less than the status.
    told = {
        status: "" if answer["description"] == "Successful Response" else f": {answer['description'].rstrip('.')}"
        for status, answer in sorted(operation["responses"].items())
        if status not in ("4XX", "5XX", "422")
    }
    return "\n".join(f"- Answer {status}{what}." for status, what in told.items())


def _raised_by_the_client(error: type[HubError]) -> str:
    return type(error_from(error.status, {"code": str(error.code)})).__name__


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        if inner.hidden:
            continue
        yield f"{path} {name}", inner
        yield from _commands(inner, f"{path} {name}")


def _options(command: Any) -> str:
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name in ("help", "install_completion", "show_completion"):
            continue
        is_argument = parameter.param_type_name == "argument"
        names = [parameter.name.upper()] if is_argument else [*parameter.opts, *parameter.secondary_opts]
        default = parameter.default
        shown = f"`{default}`" if isinstance(default, str | int | float) and default not in ("", False) else ""
        needed = "required" if parameter.required else shown
        rows.append((" ".join(f"`{name}`" for name in names), needed, getattr(parameter, "help", None) or ""))
    return _table(("argument or option", "default", "what"), rows) if rows else ""


def _paragraphs(text: str) -> str:
    return inspect.cleandoc(text).replace("\b\n", "")


def _subclasses(family: type[Any]) -> Iterator[type[Any]]:
    for inner in family.__subclasses__():
        yield inner
        yield from _subclasses(inner)


def _kind(schema: dict[str, Any]) -> str:
    return {"object": "a JSON object", "array": "a JSON array"}[schema["type"]]


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *(line(row) for row in rows)])


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", *(part for part in parts if part)]) + "\n"


def _report(names: list[str]) -> int:
    for name in names:
        sys.stderr.write(f"docs/reference/{name} is not what the code says: run `make docs`\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
