"""The rooms of a package and the arrows between them, drawn from its imports.

A room is a folder, its entries are its modules and subfolders. An entry has an arrow to another of
its room if anything in the one imports anything in the other. The floor of an entry is one above
the highest that it has an arrow to; entries that reach each other are a circle.

`python -m tests.contract.rooms` prints them all.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
Arrows = dict[str, set[str]]


@dataclass(frozen=True)
class Room:
    """One folder: what each entry has arrows to."""

    name: str
    arrows: Arrows

    @property
    def floors(self) -> int:
        """How many floors the entries stand on; a circle counts as one."""
        heights: dict[str, int] = {}

        def height(entry: str, below: tuple[str, ...] = ()) -> int:
            if entry in below:
                return 0
            if entry not in heights:
                lower = [height(other, (*below, entry)) for other in self.arrows[entry]]
                heights[entry] = 1 + max(lower, default=0)
            return heights[entry]

        return max(height(entry) for entry in self.arrows)

    @property
    def circles(self) -> set[frozenset[str]]:
        """Pairs of entries that reach each other."""
        reached = {entry: self._reached(entry) for entry in self.arrows}
        return {
            frozenset((one, other))
            for one, others in reached.items()
            for other in others
            if other != one and one in reached[other]
        }

    @property
    def count(self) -> int:
        """How many arrows there are."""
        return sum(map(len, self.arrows.values()))

    def _reached(self, entry: str) -> set[str]:
        seen: set[str] = set()
        waiting = [entry]
        while waiting:
            new = self.arrows[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen


def rooms_of(package: str) -> list[Room]:
    """Return every room of a package, the package itself first."""
    graph = grimp.build_graph(package, cache_dir=None)
    modules = sorted(graph.modules)
    rooms: dict[str, Arrows] = defaultdict(dict)
    for module in modules:
        for room, entry in _places(module):
            rooms[room].setdefault(entry, set())
    for module in modules:
        for imported in graph.find_modules_directly_imported_by(module):
            other = dict(_places(imported))
            for room, entry in _places(module):
                if room in other and other[room] != entry:
                    rooms[room][entry].add(other[room])
    return [Room(name, arrows) for name, arrows in sorted(rooms.items())]


def hides_arrows(package: str) -> list[str]:
    """Return the files of a package with imports that only a type checker sees."""
    files = sorted((ROOT / package).rglob("*.py"))
    return [
        str(file.relative_to(ROOT))
        for file in files
        if "if TYPE_CHECKING" in file.read_text("utf-8")
    ]


def _places(module: str) -> list[tuple[str, str]]:
    """Return each room that a module is in, with the entry of that room that holds it."""
    names = module.split(".")
    return [(".".join(names[:depth]), names[depth]) for depth in range(1, len(names))]


def main() -> None:
    """Print a row for every room."""
    write = sys.stdout.write
    write(f"{'room':36}{'entries':>8}{'floors':>8}{'arrows':>8}{'circles':>8}\n")
    for package in ("service", "training", "models"):
        for room in rooms_of(package):
            row = (len(room.arrows), room.floors, room.count, len(room.circles))
            write(f"{room.name:36}" + "".join(f"{number:8}" for number in row) + "\n")
        write(
            f"{package}: imports for the type checker alone in {len(hides_arrows(package))} files\n"
        )


if __name__ == "__main__":
    main()
