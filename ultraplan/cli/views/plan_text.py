"""A plan for a reviewer: what would change where, how sure that is, and how it is undone."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator

from ultraplan.cli.views.paint import paint
from ultraplan.engine.plan import Action, Certainty, Plan, Prediction
from ultraplan.secrets import Secrets
from ultraplan.steps.base import FieldDiff, TextDiff

SIGNS = {Action.CHANGE: ("~", "yellow"), Action.RUN: (">", "magenta"), Action.CHECK: ("?", "cyan"),
         Action.NOTHING: ("=", "dim"), Action.SKIP: ("-", "dim"), Action.UNDECIDED: ("*", "yellow"),
         Action.IMPOSSIBLE: ("!", "red")}
MOST_LINES = 200
"""Lines of one diff that are shown; the rest is counted."""


def plan_text(plan: Plan, secrets: Secrets, *, color: bool, unchanged: bool = False) -> str:
    """The plan as text. Hosts for which a step would do the same are shown together."""
    rows = [f"plan {plan.graph.document.name}: {_hosts(plan.graph.hosts)}"
            + (f" in {len(plan.graph.batches)} batches" if len(plan.graph.batches) > 1 else "")]
    if plan.graph.document.description:
        rows.append(paint(plan.graph.document.description, "dim", color))
    objectives = plan.graph.document.objectives
    if objectives:
        rows.append("objectives: " + ", ".join(f"{name} {time}" for name, time in objectives.items()))
    for node in plan.graph.nodes.values():
        if node.id == plan.no_return:
            rows += ["", paint(f"  ───── no way back from here: {node.step.irreversible} ─────", "red", color)]
        for same in _together(plan, node.id):
            if unchanged or same[0].action not in (Action.NOTHING, Action.SKIP) or same[0].certainty != Certainty.KNOWN:
                rows += ["", *_prediction(node.step.type, same, plan, color)]
    rows += [""]
    rows += [paint(f"! {host} cannot be reached: {why}", "red", color) for host, why in plan.unreachable.items()]
    rows += [paint(f"! {line}", "yellow", color) for line in plan.warnings]
    if plan.most_down:
        rows.append(f"at most {plan.most_down} of {len(plan.graph.hosts)} hosts have something down at once")
    rows.append(f"plan: {plan.summary}")
    return secrets.redact("\n".join(rows))


def _together(plan: Plan, node: str) -> list[list[Prediction]]:
    """The node's predictions, those that differ in nothing but the host in one list."""
    groups: dict[object, list[Prediction]] = {}
    for host in plan.graph.nodes[node].hosts:
        one = plan.predictions.get((node, host))
        if one is not None:
            key = (one.action, one.certainty, one.summary, one.because, one.way_back, repr(one.diff), one.down)
            groups.setdefault(key, []).append(one)
    return list(groups.values())


def _prediction(kind: str, same: list[Prediction], plan: Plan, color: bool) -> Iterator[str]:
    one = same[0]
    sign, tone = SIGNS[one.action]
    hosts = [each.host for each in same]
    where = _hosts(hosts) if len(hosts) < len(plan.graph.hosts) or len(plan.graph.hosts) == 1 else "every host"
    sure = "" if one.certainty is Certainty.KNOWN else f" [{one.certainty}{': ' + one.because if one.because else ''}]"
    words = {Action.NOTHING: "nothing to do", Action.SKIP: f"skipped ({one.because})",
             Action.CHECK: one.summary or "checks", Action.UNDECIDED: one.summary or "known only during the run"}
    text = words.get(one.action, one.summary)
    yield paint(f"  {sign} {one.node}", tone, color) + f" ({kind}) on {where}: {text}{sure}"
    for part in one.diff:
        yield from (f"      {line}" for line in _diff(part, color))
    if one.down:
        yield f"      down for a while: {', '.join(one.down)}"
    if one.way_back and one.action in (Action.CHANGE, Action.RUN, Action.UNDECIDED):
        yield paint(f"      way back: {one.way_back}", "dim", color)


def _diff(part: FieldDiff | TextDiff, color: bool) -> Iterator[str]:
    if isinstance(part, FieldDiff):
        note = f"   ({part.note})" if part.note else ""
        yield f"{part.field}: {_value(part.before)} → {_value(part.after)}{note}"
        return
    before = (part.before or "").splitlines()
    after = (part.after or "").splitlines()
    lines = list(difflib.unified_diff(before, after, part.path if part.before is not None else "/dev/null",
                                      part.path if part.after is not None else "/dev/null", lineterm=""))
    for line in lines[:MOST_LINES]:
        tone = "green" if line[:1] == "+" else "red" if line[:1] == "-" else "cyan" if line[:2] == "@@" else ""
        yield paint(line, tone, color)
    if len(lines) > MOST_LINES:
        yield f"… {len(lines) - MOST_LINES} more lines (ultraplan plan --json has them all)"


def _value(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _hosts(hosts: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(hosts[:6])
    return shown if len(hosts) <= 6 else f"{shown} and {len(hosts) - 6} more"
