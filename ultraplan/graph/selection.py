"""Which hosts and which steps take part: patterns, --limit, batches, tags."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ultraplan.language.values import parse_percent


def batches(hosts: Sequence[str], serial: Sequence[int | str]) -> tuple[tuple[str, ...], ...]:
    """``hosts`` cut as Ansible's ``serial`` cuts them: each size once, the last again and again.

    A percent is of all of ``hosts``, rounded down, at least one; a size of 0 or less takes all that are left.
    """
    sizes = [_size(entry, len(hosts)) for entry in serial] or [0]
    found: list[tuple[str, ...]] = []
    start = 0
    while start < len(hosts):
        size = sizes[min(len(found), len(sizes) - 1)]
        end = start + size if size > 0 else len(hosts)
        found.append(tuple(hosts[start:end]))
        start = end
    return tuple(found)


def _size(entry: int | str, total: int) -> int:
    if isinstance(entry, int):
        return entry
    if entry.strip().endswith("%"):
        return max(1, int(total * parse_percent(entry) / 100))
    return int(entry)


def selected(tags: Collection[str], only: Collection[str], skip: Collection[str]) -> bool:
    """Whether a step with ``tags`` takes part under ``--tags only --skip-tags skip``, by Ansible's rules.

    ``always`` and ``never`` on steps, ``all``, ``tagged`` and ``untagged`` on the command line have their meanings
    (https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_tags.html).
    """
    mine = frozenset(tags) or frozenset({"untagged"})
    only, skip = frozenset(only or {"all"}), frozenset(skip)
    never, tagged = "never" in mine, mine != {"untagged"}
    wanted = ("always" in mine or bool(mine & only) or ("all" in only and not never)
              or ("tagged" in only and tagged and not never))
    if "all" in skip and ("always" not in mine or "always" in skip):
        return False
    return wanted and not mine & skip and not ("tagged" in skip and tagged)
