"""Which documents make up an effective config, in which order, and which of them a value comes from. Pure."""

from collections.abc import Callable, Iterable
from typing import Any

from central_hub.storage.config_values import Document
from central_hub.validation.pointers import steps
from central_hub_client import layers
from central_hub_client.wire import DEFAULT_ENVIRONMENT, GLOBAL

Lookup = Callable[[str, str], Document | None]


def layer_keys(service: str, environment: str) -> list[tuple[str, str]]:
    """The documents under (service, environment), lowest first: `_global`, `_global`@E, S, S@E."""
    environments = [DEFAULT_ENVIRONMENT] if environment == DEFAULT_ENVIRONMENT else [DEFAULT_ENVIRONMENT, environment]
    names = [GLOBAL] if service == GLOBAL else [GLOBAL, service]
    return [(name, place) for name in names for place in environments]


def layers_of(find: Lookup, service: str, environment: str) -> list[Document]:
    """The documents and tombstones under (service, environment), lowest first."""
    found = (find(*key) for key in layer_keys(service, environment))
    return [document for document in found if document is not None]


def effective(documents: list[Document]) -> dict[str, Any]:
    """The merged config of `documents`, lowest first; tombstones add nothing."""
    return layers.merge([document.config for document in documents if document.config is not None])


def shared_keys(documents: list[Document], pointers: Iterable[str]) -> frozenset[str]:
    """Those of the JSON Pointers that lead to what `_global` sets and no document of the service itself does."""
    live = [(document.service == GLOBAL, document.config) for document in documents if document.config is not None]

    def is_shared(pointer: str) -> bool:
        setters = {is_global for is_global, config in live if _sets(config, steps(pointer))}
        return setters == {True}

    return frozenset(filter(is_shared, set(pointers)))


def provenance(documents: list[Document]) -> dict[str, dict[str, Any]]:
    """For the JSON Pointer of every leaf of the effective config: the layer that it comes from."""
    live = [document for document in documents if document.config is not None]
    origins = layers.origins([document.config or {} for document in live])
    return {
        pointer: {
            "layer": f"{live[indexes[0]].service}@{live[indexes[0]].environment}",
            "revision": live[indexes[0]].revision,
            "changed_by": live[indexes[0]].changed_by,
        }
        for pointer, indexes in origins.items()
    }


def _sets(config: Any, path: list[str]) -> bool:
    """Whether something stands at the place, or a list or a scalar around it."""
    for key in path:
        if not isinstance(config, dict):
            return True
        if key not in config:
            return False
        config = config[key]
    return True
