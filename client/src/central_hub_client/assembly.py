"""Which layers count, and the configuration they make: merge, resolve, validate, or keep what was.

What every source says last is *offered*. All of it is tried together; where the model refuses, the layers that brought
the refused values fall back to what was last *accepted* of them, and the others still count: a bad file does not shut
out the hub, nor a bad revision the environment. No I/O but that of secrets, no locks: the caller has one.
"""

import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic

from central_hub_client import layers
from central_hub_client.binding import Binding, Problem, Refused, S
from central_hub_client.declared import Shape
from central_hub_client.secret_references import Secrets, marked
from central_hub_client.sources import ENVIRONMENT_PRIORITY, Loaded, environment
from central_hub_client.sources.environment import Variable
from central_hub_client.strict_json import escape_pointer
from central_hub_client.wire import ConfigObject, Position

logger = logging.getLogger("central_hub_client")

ENVIRONMENT: Final = "environment"
HUB: Final = "hub"
MOST_PLACES: Final = 3
"""Named where a refused value is put together from several."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """What one source says: the declared values, what was left out, and where each is written. By identity: a layer
    that was loaded again is another one."""

    name: str
    priority: int
    values: Mapping[str, Any] = field(repr=False)
    places: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[tuple[str, ...], ...] = ()
    has_references: bool = False
    object: ConfigObject | None = field(default=None, repr=False)
    variables: tuple[Variable, ...] = ()
    """Of the environment, whose values depend on what the other layers know."""
    ban: str | None = None
    """Why it must not be used, whatever it says."""

    def place_of(self, pointer: str) -> str | None:
        """Where the value at a JSON Pointer is written: of what has no place of its own, the nearest around it."""
        while pointer and pointer not in self.places:
            pointer = pointer.rpartition("/")[0]
        return self.places.get(pointer)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Generic[S]):
    """One configuration in use. `layers` go from the lowest priority up."""

    value: S = field(repr=False)
    layers: tuple[Layer, ...]
    secrets: frozenset[tuple[str, ...]]
    """The paths of values that were resolved from references."""
    found: dict[str, Any] = field(default_factory=dict, repr=False)
    """What was looked up by dotted path."""

    def layer(self, name: str) -> Layer | None:
        return next((layer for layer in self.layers if layer.name == name), None)

    @property
    def position(self) -> Position | None:
        """That of the hub's configuration in it, None where none is."""
        hub = self.layer(HUB)
        return None if hub is None or hub.object is None else hub.object.position


@dataclass(frozen=True, slots=True)
class Rejection:
    """A layer whose values are not used, and why. `revision` and `epoch` are those of the hub's."""

    layer: str
    reason: str
    revision: int | None = None
    epoch: int | None = None


class Assembly(Generic[S]):
    """The layers of one manager."""

    def __init__(self, binding: Binding[S], secrets: Secrets) -> None:
        self._binding = binding
        self._secrets = secrets
        self._offered: dict[str, Layer] = {}
        self._accepted: dict[str, Layer] = {}
        self.rejections: dict[str, Rejection] = {}
        """By layer: what is offered now and not used."""
        self.rejected = 0
        """How often something new was refused."""
        self.incomplete: tuple[Problem, ...] = ()
        """Why there is nothing that can be used at all, empty once there is."""

    def offer(
        self,
        name: str,
        priority: int,
        loaded: Loaded,
        received: ConfigObject | None = None,
        *,
        ban: str | None = None,
    ) -> None:
        """The source `name` now says this; it is refused for what a ban says."""
        layer = Layer(name, priority, loaded.values, loaded.places, object=received, ban=ban)
        self._offered[name] = _fitted(layer, self._binding.shape)

    def offer_environment(self, variables: tuple[Variable, ...]) -> None:
        self._offered[ENVIRONMENT] = Layer(ENVIRONMENT, ENVIRONMENT_PRIORITY, {}, variables=variables)

    def withdraw(self, name: str) -> None:
        """The source `name` is no longer one."""
        self._offered.pop(name, None)

    def offered(self, name: str) -> Layer | None:
        return self._offered.get(name)

    def accepted(self, name: str) -> Layer | None:
        return self._accepted.get(name)

    def assemble(self) -> Snapshot[S] | None:
        """The configuration that the offered layers make, as far as they can be used; None where nothing can.

        The rejections then say what cannot, and why.
        """
        trial = dict(self._offered)
        refused = {name: Refused([Problem((), layer.ban)]) for name, layer in trial.items() if layer.ban is not None}
        for name in refused:
            self._go_without(name, trial)
        first: Refused | None = None
        while True:
            try:
                snapshot = self._build(trial.values())
                break
            except Refused as refusal:
                first = first or refusal
                culprits = self._culprits(refusal, trial)
                if not culprits:
                    self._reject(refused)
                    self.incomplete = () if self._accepted else first.problems
                    return None
                for name in culprits:
                    if self._accepted or not all(problem.is_missing for problem in refusal.problems):
                        refused.setdefault(name, refusal)  # what is merely not enough yet is not refused
                    self._go_without(name, trial)
        self._accepted, self.incomplete = trial, ()
        self._reject(refused)
        return snapshot

    def _go_without(self, name: str, trial: dict[str, Layer]) -> None:
        if name in self._accepted:
            trial[name] = self._accepted[name]
        else:
            trial.pop(name, None)

    def _build(self, offered: Any) -> Snapshot[S]:
        ordered = sorted(offered, key=lambda layer: layer.priority)
        shape = self._binding.shape
        seen, merged = tuple(ordered), _merged(ordered)
        if any(layer.variables for layer in ordered):
            seen = tuple(_with_values(layer, shape, merged) if layer.variables else layer for layer in ordered)
            merged = _merged(seen)
        try:
            secrets: frozenset[tuple[str, ...]] = frozenset()
            if any(layer.has_references for layer in seen):
                merged, secrets = self._secrets.fill(merged)
            return Snapshot(self._binding.bind(merged), seen, secrets)
        except Refused as refusal:
            hidden = [
                replace(problem, message=self._secrets.hidden_in(problem.message), places=_places(problem, seen))
                for problem in refusal.problems
            ]
            raise _Located(hidden, seen) from None
        except Exception as error:  # noqa: BLE001 - the model's own code runs here, and must not stop updates
            where = traceback.extract_tb(error.__traceback__)[-1]
            # Not its text, which may repeat a value.
            logger.error("the model failed: error=%s at=%s:%s", type(error).__name__, where.filename, where.lineno)
            raise Refused([Problem((), f"the model failed with {type(error).__name__}")]) from None

    def _culprits(self, refusal: Refused, trial: Mapping[str, Layer]) -> set[str]:
        """The layers to go without: those that are news and set a refused value, else one that is news."""
        news = {
            name for name in trial.keys() | self._accepted.keys() if trial.get(name) is not self._accepted.get(name)
        }
        if isinstance(refusal, _Located):
            found = {layer.name for problem in refusal.problems for layer, _ in _setters(problem, refusal.layers)}
            if guilty := found & news:
                return guilty
        if HUB in news:
            return {HUB}
        by_priority = sorted(news & trial.keys(), key=lambda name: trial[name].priority)
        return set(by_priority[-1:] or news)

    def _reject(self, refused: Mapping[str, Refused]) -> None:
        rejections = {}
        for name, refusal in refused.items():
            offered = self._offered.get(name)
            received = offered.object if offered else None
            rejections[name] = Rejection(
                name,
                str(refusal),
                received.revision if received else None,
                received.epoch if received else None,
            )
            if rejections[name] != self.rejections.get(name):
                self.rejected += 1
                logger.error("values are not used: layer=%s revision=%s: %s", name, rejections[name].revision, refusal)
        self.rejections = rejections


class _Located(Refused):
    """With the layers that were tried."""

    def __init__(self, problems: list[Problem], tried: tuple[Layer, ...]) -> None:
        super().__init__(problems)
        self.layers = tried


def _merged(ordered: Sequence[Layer]) -> dict[str, Any]:
    """One object that nobody alters: where only one layer says anything, its own."""
    saying = [layer.values for layer in ordered if layer.values]
    return dict(saying[0]) if len(saying) == 1 else layers.merge(saying)


def _fitted(layer: Layer, shape: Shape | None) -> Layer:
    """The layer with what is declared alone, and its references told from objects."""
    values, unknown = marked(layer.values), layer.unknown
    has_references = values is not layer.values
    if shape is not None:
        values, unknown = shape.fit(values)
    return replace(layer, values=values, unknown=unknown, has_references=has_references)


def _with_values(layer: Layer, shape: Shape | None, others: Mapping[str, Any]) -> Layer:
    loaded = environment.read(layer.variables, shape, others)
    return _fitted(replace(layer, values=loaded.values, places=loaded.places), shape)


def _setters(problem: Problem, tried: tuple[Layer, ...]) -> list[tuple[Layer, str]]:
    """The layers whose values are refused, each with a JSON Pointer to one: those that won at the place, around it, or
    inside it."""
    if problem.is_missing or not problem.path:
        return []
    place = "".join(f"/{escape_pointer(key)}" for key in problem.path)
    return [
        (tried[winners[0]], max(pointer, place, key=len))
        for pointer, winners in layers.origins([layer.values for layer in tried]).items()
        if _is_within(pointer, place) or _is_within(place, pointer)
    ]


def _places(problem: Problem, tried: tuple[Layer, ...]) -> tuple[str, ...]:
    found = (layer.place_of(pointer) for layer, pointer in _setters(problem, tried))
    return tuple(dict.fromkeys(filter(None, found)))[:MOST_PLACES]


def _is_within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(f"{outer}/")
