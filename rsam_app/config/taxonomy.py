"""The hierarchy of a dataset's classes, such as species, genus and family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

CLASS = "class"
"""Name of the finest level."""


@dataclass(frozen=True)
class Taxonomy:
    """Levels of nodes, the classes first and the coarsest last.

    `levels` are their names, the first is `CLASS`. `nodes` has, for each level, the node above each class, in the order
    of the classes; those of the first level are the classes. A node is a level and a name, and has one parent.
    """

    levels: tuple[str, ...]
    nodes: tuple[tuple[str, ...], ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return self.nodes[0]

    def __str__(self) -> str:
        """The number of nodes of each level."""
        counts = zip(self.levels, (len(set(nodes)) for nodes in self.nodes), strict=True)
        return ", ".join(f"{level}: {count:,}" for level, count in counts)

    def above_classes(self) -> dict[str, Any]:
        """Levels and nodes above the classes, as plain JSON."""
        return {"levels": list(self.levels[1:]), "nodes": [list(nodes) for nodes in self.nodes[1:]]}

    @classmethod
    def of(cls, classes: Sequence[str], above: Mapping[str, Any]) -> Self:
        """The taxonomy of `classes` and what `above_classes` returned."""
        return cls((CLASS, *above["levels"]), (tuple(classes), *map(tuple, above["nodes"])))

    def of_classes(self, classes: Sequence[str]) -> Taxonomy:
        """The taxonomy of these classes, in their order. A class without a place in it is below the finest node of its
        own name, and has a node of that name on every level without one."""
        return Taxonomy(self.levels, tuple(zip(*map(self._nodes_above, classes), strict=True)))

    def renamed(self, names: Mapping[str, str], classes: Sequence[str]) -> Taxonomy:
        """The taxonomy of `classes`, whose earlier names are the keys of `names`. A class keeps its place if it has one
        in its own name, else it gets that of the first class that became it."""
        earlier = {new: old for old, new in reversed(list(names.items())) if old in self.classes}
        placed = [name if name in self.classes else earlier.get(name, name) for name in classes]
        return Taxonomy(self.levels, (tuple(classes), *self.of_classes(placed).nodes[1:]))

    def _nodes_above(self, name: str) -> tuple[str, ...]:
        """The node of each level above a class, which comes first."""
        for level, nodes in enumerate(self.nodes):
            if name in nodes:
                number = nodes.index(name)
                return (*[name] * level, *(of[number] for of in self.nodes[level:]))
        return (name,) * len(self.levels)
