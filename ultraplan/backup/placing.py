"""Shell programs that put restored trees in their place on a host, keep what was there, and put it back.

The same as `ultraplan.backup.swap` does on this machine, for dash and busybox. Everything of one restore is in folders
beside the destinations: ``new/`` (what comes), ``old/`` (what was there), ``ready`` (all of ``new`` is there, and was
checked). Each program may be killed anywhere and run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ultraplan.backup.swap import PREFIX
from ultraplan.shell import quote

_THERE = 'there() { [ -e "$1" ] || [ -L "$1" ]; }\n'


@dataclass(frozen=True, slots=True)
class Place:
    """A folder ``stage`` beside the destinations of ``paths`` (as in the archive), all in one folder of the host."""

    stage: str
    target: str
    paths: tuple[str, ...]

    @property
    def new(self) -> str:
        """Where the archive is unpacked."""
        return f"{self.stage}/new"

    def to(self, path: str) -> str:
        """Where ``path`` goes."""
        return str(PurePosixPath(self.target, path))


def places(target: str, paths: Sequence[str], label: str) -> list[Place]:
    """Where ``paths`` of a set go below ``target``, by the folder that they lie in."""
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        by_folder.setdefault(str(PurePosixPath(target, path).parent), []).append(path)
    return [Place(str(PurePosixPath(folder, PREFIX + label)), target, tuple(inside))
            for folder, inside in by_folder.items()]


def look(place: Place) -> str:
    """Prints a line for each destination: what is there, as far as it identifies it. Fails where a folder on the way is
    a link, or none."""
    rows = [_THERE]
    for path in place.paths:
        for folder in _between(place.target, path):
            rows.append(f'[ ! -L {quote(folder)} ] || {{ echo {quote(folder)} is a symbolic link >&2; exit 1; }}\n'
                        f'[ ! -e {quote(folder)} ] || [ -d {quote(folder)} ] '
                        f'|| {{ echo {quote(folder)} is no folder >&2; exit 1; }}\n')
        to = quote(place.to(path))
        rows.append(f"if there {to}; then set -- $(ls -din -- {to}); echo \"$1 $2\"; else echo absent; fi\n")
    return "".join(rows)


def prepare(place: Place) -> str:
    """Makes the empty stage, 0700; first puts back what an earlier attempt left half done."""
    folder = str(PurePosixPath(place.stage).parent)
    return (f"( {back(place)}) || exit 1\n"
            f"mkdir -p -- {quote(folder)} || exit 1\n"
            f"umask 077\n"
            f"mkdir -- {quote(place.stage)} {quote(place.new)} {quote(place.stage + '/old')} || exit 1\n")


def swap(place: Place) -> str:
    """Puts what is in ``new`` in place. Which files these are is written down before."""
    rows = [_THERE]
    for number, path in enumerate(place.paths):
        new = quote(f"{place.new}/{path}")
        rows.append(f"there {new} || {{ echo {quote(path)} was not unpacked >&2; exit 1; }}\n"
                    f"set -- $(ls -di -- {new}) && echo \"$1\" >{quote(f'{place.stage}/inode.{number}')} || exit 1\n")
    rows.append(f": >{quote(place.stage + '/ready')} && sync || exit 1\n")
    for number, path in enumerate(place.paths):
        to, old, new = quote(place.to(path)), quote(f"{place.stage}/old/{number}"), quote(f"{place.new}/{path}")
        rows.append(f"! there {to} || mv -- {to} {old} || exit 1\n"
                    f"mv -- {new} {to} || exit 1\n")
    return "".join([*rows, "sync\n"])


def finish(place: Place) -> str:
    """The restore is good: keeps what was there, removes the rest; prints the stage where it keeps anything."""
    old = quote(f"{place.stage}/old")
    return (f"rm -rf -- {quote(place.new)}\n"
            f"if [ -n \"$(ls -A -- {old})\" ]; then printf '%s\\n' {quote(place.stage)}; "
            f"else rm -rf -- {quote(place.stage)}; fi\n")


def back(place: Place) -> str:
    """Puts back what was there before, however far it came. Fails where something else is in the way by now. What was
    restored and has changed since stays in the stage, as ``undone``: it is nowhere else."""
    stage, ready = quote(place.stage), quote(f"{place.stage}/ready")
    rows = [f"[ -d {stage} ] || exit 0\n", _THERE,
            f"[ -e {ready} ] || {{ rm -rf -- {stage}; exit 0; }}\nkept=\n"]
    for number, path in reversed(list(enumerate(place.paths))):
        to, old = quote(place.to(path)), quote(f"{place.stage}/old/{number}")
        away, inode = quote(f"{place.stage}/undone.{number}"), quote(f"{place.stage}/inode.{number}")
        rows.append(
            f"ours=; read -r ours <{inode} || :\nset -- -\nif there {to}; then set -- $(ls -di -- {to}); fi\n"
            f"if [ \"$1\" = \"$ours\" ]; then mv -- {to} {away} || exit 1; fi\n"
            f"if there {old}; then\n"
            f"	! there {to} || {{ echo {to} is not what was restored there >&2; exit 1; }}\n"
            f"	mv -- {old} {to} || exit 1\n"
            "fi\n"
            f"if there {away}; then\n"
            f"	if [ -n \"$(find {away} -newer {ready} | head -n 1)\" ]; then kept=1; else rm -rf -- {away}; fi\n"
            "fi\n")
    return "".join([*rows, f"[ -n \"$kept\" ] || rm -rf -- {stage}\nsync\n"])


def _between(target: str, path: str) -> list[str]:
    """The folders between ``target`` and ``path``, outermost first."""
    parts = PurePosixPath(path).parts[:-1]
    return [str(PurePosixPath(target, *parts[:count])) for count in range(1, len(parts) + 1)]
