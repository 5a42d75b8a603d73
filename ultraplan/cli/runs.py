"""``ultraplan runs``: what ran, what came of it, and what is going on."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ultraplan.cli import options

if TYPE_CHECKING:
    from ultraplan.journal.base import RunInfo, Store

EXAMPLES = """\
examples:
  ultraplan runs                       the runs there are
  ultraplan runs show last             what happened, to somebody who was not there
  ultraplan runs follow 20261122-0144  what a run in another terminal does
  ultraplan runs prune --older-than 30d
"""

ENDED = ("succeeded", "rolled_back", "rolled_back_in_part", "failed")
"""How runs end with which nobody has to go on; only those are pruned by age."""

LOOK_EVERY = 0.3
"""Seconds between two looks at a journal that is followed."""


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_state(parser)
    options.add_output(parser)
    parser.set_defaults(what="list", ids=False)
    # What is given before the subcommand holds where the subcommand does not say otherwise.
    verbs = parser.add_subparsers(dest="what", metavar="WHAT")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text, argument_default=argparse.SUPPRESS)
        options.add_state(sub)
        options.add_output(sub)
        return sub

    one = add("list", "the runs there are, newest first (the default)")
    one.add_argument("--ids", action="store_true", default=False, help="only their ids")
    add("show", "what a run did, how it ended and what can be done next").add_argument(
        "run", metavar="RUN", nargs="?", default="last", help="its id, the start of it, or 'last' (the default)")
    add("follow", "tell what a run does until it ends; exits as the run does").add_argument(
        "run", metavar="RUN", nargs="?", default="last", help="its id, the start of it, or 'last' (the default)")
    prune = add("prune", "forget runs that have ended, here and on their hosts; they cannot be rolled back any more")
    prune.add_argument("run", metavar="RUN", nargs="*", default=[], help="their ids, or the start of them")
    prune.add_argument("--force", action="store_true", default=False,
                       help="remove the journal also where a host that still holds receipts cannot be reached")
    prune.add_argument("--older-than", metavar="TIME", default=None,
                       help="those that ended longer ago than this (30d), with nothing left to do")
    reply = add("answer", "answer a step that asks (approve) in a run without a terminal")
    reply.add_argument("run", metavar="RUN", help="its id, the start of it, or 'last'")
    reply.add_argument("answer", choices=("yes", "no"))
    reply.add_argument("--step", default=None, metavar="STEP[@HOST]", help="which question, where several are asked")
    parser.epilog = EXAMPLES


def run(args: argparse.Namespace) -> int:
    store = options.store(args)
    try:
        verb = {"list": _list, "show": _show, "follow": _follow, "prune": _prune,
                "answer": _answer}[args.what or "list"]
        return verb(args, store)
    finally:
        store.close()


def _list(args: argparse.Namespace, store: Store) -> int:
    from ultraplan.cli.views.table import table
    from ultraplan.cli.views.text import ago, date

    infos = store.runs()
    if args.ids:
        print("\n".join(info.run for info in infos))
        return 0
    if args.json:
        print(json.dumps({"format": "ultraplan/runs", "version": 1, "runs": [told_of(info) for info in infos]},
                         ensure_ascii=False))
        return 0
    if not infos:
        print("no runs yet")
        return 0
    now = time.time()
    print(table(("RUN", "PLAN", "HOSTS", "OPENED (UTC)", "LAST CHANGE", "STATUS"),
                [(info.run, info.plan, _few(info.hosts), date(info.opened), ago(now - info.changed), _status(info))
                 for info in infos]))
    return 0


def told_of(info: RunInfo) -> dict[str, Any]:
    """A row of the list of runs, as data."""
    from ultraplan.journal.holder import alive, describe

    holder = None
    if info.holder is not None and info.status == "open":
        holder = {"who": describe(info.holder), "alive": alive(info.holder)}
    return {"run": info.run, "plan": info.plan, "hosts": list(info.hosts), "opened": info.opened,
            "changed": info.changed, "status": info.status, "holder": holder}


def _status(info: RunInfo) -> str:
    told = told_of(info)
    holder = told["holder"]
    if info.status != "open":
        return info.status.replace("_", " ")
    if holder is None:
        return "open, nobody is at it"
    return {True: f"open, {holder['who']}", False: f"open, but {holder['who']} is gone",
            None: f"open, {holder['who']} (elsewhere)"}[holder["alive"]]


def _show(args: argparse.Namespace, store: Store) -> int:
    from ultraplan.cli.views.story import story, story_text
    from ultraplan.engine.runs import why_not_resume
    from ultraplan.journal.base import JournalDamaged

    run = store.find(args.run)
    info = next(one for one in store.runs() if one.run == run)
    records, damage = [], None
    try:
        for record in store.read(run):
            records.append(record)
    except JournalDamaged as error:
        damage = error
    if damage is not None and not records:
        raise damage
    final = None
    if info.status == "failed" and damage is None:
        final = why_not_resume(run, options.settings(args), store)
    told = story(told_of(info), records, None if damage is None else str(damage), final=final)
    print(json.dumps(told, ensure_ascii=False) if args.json
          else story_text(told, color=options.colored(args), now=time.time()))
    return 0 if damage is None else 1


def _follow(args: argparse.Namespace, store: Store) -> int:
    from ultraplan.cli.failures import FAILED, STATUS_CODES
    from ultraplan.cli.views.lines import LinesView
    from ultraplan.cli.views.ndjson import NdjsonView
    from ultraplan.journal.events import RunClosed, TakenOver

    run = store.find(args.run)
    view = NdjsonView() if args.json else LinesView()
    seq, closed = 0, None
    while True:
        gone = _nobody_at_it(store, run)
        for record in store.read(run, seq):
            view.record(record)
            seq = record.seq
            if isinstance(record.event, RunClosed):
                closed = record.event.status
            elif isinstance(record.event, TakenOver):
                closed = None
        if closed is not None:
            return STATUS_CODES.get(closed, FAILED)
        if gone:
            view.say(f"nobody is at this run any more; ultraplan resume {run} goes on, ultraplan rollback {run} undoes")
            return FAILED
        time.sleep(LOOK_EVERY)


def _nobody_at_it(store: Store, run: str) -> bool:
    """Whether the process that had the run in its hands is surely gone."""
    holder = told_of(next(one for one in store.runs() if one.run == run))["holder"]
    return holder is None or holder["alive"] is False


def _answer(args: argparse.Namespace, store: Store) -> int:
    from ultraplan.cli.views.paint import visible
    from ultraplan.engine.runs import answer

    run = store.find(args.run)
    asked = answer(run, args.answer == "yes", store, args.step)
    if args.json:
        print(json.dumps({"format": "ultraplan/answered", "version": 1, "run": run, "step": asked.node,
                          "host": asked.host, "question": asked.question, "answer": args.answer}))
    else:
        print(visible(f"{asked.node} on {asked.host} asked: {asked.question}  {args.answer}"))
    return 0


def _prune(args: argparse.Namespace, store: Store) -> int:
    from ultraplan.cli.views.paint import visible_lines
    from ultraplan.cli.views.text import counted
    from ultraplan.engine.runs import NotPossible, prune
    from ultraplan.language.values import Duration

    if bool(args.run) == bool(args.older_than):
        raise NotPossible("say which runs: their ids, or --older-than 30d")
    kept: list[str] = []
    if args.run:
        chosen = [store.find(prefix) for prefix in args.run]
    else:
        try:
            before = time.time() - Duration.parse(args.older_than)
        except ValueError as error:
            raise NotPossible(f"--older-than: {error}") from None
        old = [info for info in store.runs() if info.changed < before]
        chosen = [info.run for info in old if info.status in ENDED]
        kept = [info.run for info in old if info.status not in ENDED]
    settings = options.settings(args)
    removed, left = [], []
    for run in chosen:
        troubles = prune(run, settings, store)
        if troubles and args.force:
            store.prune(run)
        left += [f"{run}: {line}" for line in troubles]
        if not troubles or args.force:
            removed.append(run)
    if args.json:
        print(json.dumps({"format": "ultraplan/pruned", "version": 1, "removed": removed, "kept": kept, "left": left},
                         ensure_ascii=False))
    else:
        print(f"removed {counted(len(removed), 'run')}" + (f": {_few(removed)}" if removed else ""))
        if kept:
            print(f"kept, because something is left to do: {', '.join(kept)}", file=sys.stderr)
        for line in left:
            print(f"cannot be removed from {visible_lines(line)}", file=sys.stderr)
        if left and not args.force:
            print("the journals of these runs are kept, so that it can be tried again (--force removes them too)",
                  file=sys.stderr)
    return 1 if left and not args.force else 0


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
