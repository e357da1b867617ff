"""Dependencies as lines of a tree, what is to blame first. Pure.

What is reached by several ways is unfolded where it is reached first, so that a tree has no more lines than there are
dependencies.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from central_hub.cli.legible import visible
from central_hub.cli.states import badness

Named = tuple[str, str]
"""A kind, `component` or `service`, and a name: a service may have the name of a component."""

_STEM_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Strokes:
    """What the stem of a tree is drawn with."""

    branch: str
    last: str
    down: str
    cut: str
    nothing: str = "   "


LINES: Final = Strokes("├─ ", "└─ ", "│  ", "… ")
ASCII: Final = Strokes("|- ", "`- ", "|  ", "~ ")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the stem before it, what it says, and the state that colours it."""

    stem: str
    text: str
    state: str | None

    def cut(self, width: int, strokes: Strokes) -> str:
        """The line in so many columns: a long stem loses its beginning, a long text its end."""
        room = int(width * _STEM_SHARE)
        stem = self.stem if len(self.stem) <= room else strokes.cut + self.stem[len(self.stem) - room :]
        return (stem + visible(self.text, width=max(1, width - len(stem))))[:width]


class DependencyTree:
    """What `GET /dashboard/dependencies` answered."""

    def __init__(self, picture: Mapping[str, Any]) -> None:
        self._nodes: Final[dict[Named, Mapping[str, Any]]] = {_named(node): node for node in picture["nodes"]}
        self._causes: Final[dict[Named, int]] = {}
        for cause in picture["causes"]:
            self._causes.setdefault(_named(cause), len(self._causes))
        self._under: Final[dict[Literal["needs", "dependents"], dict[Named, list[tuple[Named, str]]]]] = {
            "needs": {},
            "dependents": {},
        }
        for edge in picture["edges"]:
            dependent, component = (edge["kind"], edge["dependent"]), ("component", edge["component"])
            self._under["needs"].setdefault(dependent, []).append((component, edge["need"]))
            self._under["dependents"].setdefault(component, []).append((dependent, edge["need"]))

    def named(self, name: str) -> list[Named]:
        """Whoever has that name: nobody, a component, a service or both."""
        return [node for node in (("component", name), ("service", name)) if node in self._nodes]

    def lines(
        self, *, needs: bool = False, of: Sequence[Named] | None = None, strokes: Strokes = LINES
    ) -> Iterator[Line]:
        """Under each component whoever depends on it; with `needs` under each what it depends on.

        Without `of` it begins with the causes, and goes on with whatever depends on nothing; with `needs` it is on whom
        nobody depends.
        """
        under = self._under["needs" if needs else "dependents"]
        above = self._under["dependents" if needs else "needs"]
        tops = self._sorted(node for node in self._nodes if node not in above or (not needs and node in self._causes))
        unfolded: set[Named] = set()
        ahead = [(node, "", "", "") for node in reversed(self._sorted(of) if of is not None else tops)]
        while ahead:
            node, stem, further, need = ahead.pop()
            below = dict(under.get(node, ()))
            again = node in unfolded and bool(below)
            yield Line(stem, self._text(node, need, again=again), self._nodes[node]["state"])
            if again:
                continue
            unfolded.add(node)
            children = self._sorted(below)
            for number, child in reversed(list(enumerate(children, 1))):
                is_last = number == len(children)
                ahead.append(
                    (
                        child,
                        further + (strokes.last if is_last else strokes.branch),
                        further + (strokes.nothing if is_last else strokes.down),
                        below[child],
                    )
                )

    def _sorted(self, nodes: Any) -> list[Named]:
        """Causes first, then the worst, then by name."""
        return sorted(
            nodes,
            key=lambda node: (
                self._causes.get(node, len(self._causes)),
                badness(self._nodes[node]["state"]),
                node,
            ),
        )

    def _text(self, node: Named, need: str, *, again: bool) -> str:
        found = self._nodes[node]
        is_service = node[0] == "service"
        about = [word for word, is_said in (("service", is_service), ("optional", need == "optional")) if is_said]
        name = f"{found['name']} ({', '.join(about)})" if about else found["name"]
        text = f"{name}  {found['state'] or ('no instance' if is_service else 'not probed')}"
        if again:
            return f"{text}, see above"
        reason = found["reason"] if found["state"] not in ("healthy", None) else None
        return f"{text}: {reason}" if reason else text


def _named(node: Mapping[str, Any]) -> Named:
    return node["kind"], node["name"]
