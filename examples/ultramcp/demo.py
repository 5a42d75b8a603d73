"""The demonstration that `make demo` runs: a small world of real processes is upgraded, broken and recovered.

Everything shown is a real command with its real output; after each, the demo looks for itself whether the world is
as it should be: every file's content, mode and owner, every process, every service's answer. Exit code 1 if not.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import world

ROOT = Path(__file__).parents[2]
DEMO = ROOT / ".demo"
ULTRAPLAN = Path(sys.executable).parent / "ultraplan"
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ

Tree = dict[str, tuple[Any, ...]]


class WentWrong(Exception):
    """Something is not as it should be; what, was told."""


class Demo:
    """Runs commands, tells what they are for, and keeps count of what is not as it should be."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.environment = {**os.environ, "ULTRAPLAN_STATE": str(DEMO / "controller")}

    def chapter(self, text: str) -> None:
        """A line of narration. The story ends where something is not as it should be."""
        if self.wrong:
            raise WentWrong
        print(f"\n{_bold(f'── {text}')}", flush=True)

    def command(self, *words: str) -> list[str]:
        """Show a command and give its arguments."""
        print(f"{_bold('$')} ultraplan {' '.join(words)}", flush=True)
        return [str(ULTRAPLAN), *words]

    def ultraplan(self, *words: str, code: int = 0) -> None:
        """Run a command that has to end with ``code``; the preview that `apply` begins with is left out."""
        running = subprocess.Popen(self.command(*words), cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        _show(running.stdout, after="run opened" if words[0] == "apply" else None)
        ended = running.wait()
        self.check(ended == code, f"exit code {code}", f"it was {ended}")

    def killed(self, moment: Callable[[], bool], *words: str) -> None:
        """Run a command and kill it with SIGKILL at a moment of its run."""
        running = subprocess.Popen(self.command(*words), cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL)
        while running.poll() is None and not moment():
            time.sleep(0.002)
        ended = running.poll() is not None
        running.send_signal(signal.SIGKILL)
        running.wait()
        print(_bold("^ kill -9"), flush=True)
        self.check(not ended, "killed in the middle of its work", "it had ended before")

    def check(self, right: bool, what: str, found: str = "") -> None:
        """Tell whether something is as it should be."""
        print(f"  {_paint('✔', 32) if right else _paint('✘', 31)} {what}{'' if right else f': {found}'}", flush=True)
        if not right:
            self.wrong.append(what)

    def same(self, one: Tree, other: Tree, what: str) -> None:
        """Two states of the world have to be the same."""
        differ = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        self.check(not differ, f"{what} ({len(one)} files, folders and links)", ", ".join(differ[:5]))

    def serving(self, release: str) -> None:
        """Every service has to be healthy, in a release."""
        for host, told in _ask("/health").items():
            self.check(told.get("healthy") is True and told.get("version") == release,
                       f"{host} is healthy, release {release}", json.dumps(told))


def run(demo: Demo) -> None:
    """The story."""
    inventory = ("-i", str((DEMO / "inventory.yaml").relative_to(ROOT)))
    plan = "plans/ultramcp/{}.yaml".format

    demo.chapter("Three machines, each with one UltraMCP service. Are they healthy?")
    demo.ultraplan("apply", plan("health-check"), *inventory, "--yes")
    demo.serving("1.0")

    demo.chapter("A backup of all of them: one archive and one manifest each")
    demo.ultraplan("apply", plan("backup"), *inventory, "-e", "snapshot=monday", "--yes")
    monday = _tree("live")
    for host in world.MACHINES:
        demo.check((DEMO / host / "backups" / "monday.tar.gz").exists(), f"{host} has the snapshot monday")

    demo.chapter("What would an upgrade do? A preview reads the machines and changes nothing")
    before = _tree("")
    demo.ultraplan("plan", plan("upgrade"), *inventory, "-e", "release=2.0")
    demo.same(before, _tree(""), "nothing has changed")

    demo.chapter("The upgrade, one machine after another")
    demo.ultraplan("apply", plan("upgrade"), *inventory, "-e", "release=2.0", "--yes")
    demo.serving("2.0")

    demo.chapter("The same again: there is nothing left to do")
    before, processes = _tree("live"), _processes()
    demo.ultraplan("apply", plan("upgrade"), *inventory, "-e", "release=2.0", "--yes")
    demo.same(before, _tree("live"), "nothing has changed")
    demo.check(processes == _processes(), "no service was restarted", f"{processes} → {_processes()}")

    demo.chapter("Release 2.1 is broken, which shows on the last machine only. Everything goes back by itself")
    before = {**_tree("live"), **_tree("backups")}
    demo.ultraplan("apply", plan("upgrade"), *inventory, "-e", "release=2.1", "--yes", code=1)
    demo.same(before, {**_tree("live"), **_tree("backups")}, "all is as it was, byte for byte, mode for mode")
    demo.serving("2.0")

    demo.chapter("Back to monday's snapshot? The dry run is a preview, here a saved one")
    tuesday = _tree("live")
    saved = str((DEMO / "rollback.plan").relative_to(ROOT))
    demo.ultraplan("plan", plan("rollback"), *inventory, "-e", "snapshot=monday", "-e", "watch=1s", "-o", saved)

    demo.chapter("Exactly that is applied; halfway, the controller dies")
    demo.killed(_halfway, "apply", saved)
    demo.check(len(_processes()) < len(world.MACHINES), "services are down, and nobody is at work")

    demo.chapter("Go on from where it was")
    demo.ultraplan("resume")
    demo.same(monday, _tree("live"), "all is as it was on monday, byte for byte, mode for mode")
    demo.serving("1.0")

    demo.chapter("What was done so far")
    demo.ultraplan("runs")

    demo.chapter("On second thoughts: undo that run, though it has long finished")
    demo.ultraplan("rollback", "--yes")
    demo.same(tuesday, _tree("live"), "all is as it was before that run, byte for byte, mode for mode")
    demo.serving("2.0")


def _show(lines: Iterable[str], after: str | None) -> None:
    """Print what a command says, as it says it; what comes before a line with ``after`` only as a count."""
    held: list[str] = []
    for line in lines:
        if after is not None and after not in line:
            held.append(line)
            continue
        if held:
            print(f"… {len(held)} lines of preview …")
            held = []
        after = None
        print(line, end="", flush=True)
    print("".join(held), end="", flush=True)


def _halfway() -> bool:
    """Whether a service was stopped and not yet started again."""
    return not all((DEMO / host / "run" / f"{service}.pid").exists() for host, service in world.MACHINES.items())


def _tree(part: str) -> Tree:
    """What lies below a folder of each machine: kind, mode, owner, and content or target."""
    found: Tree = {}
    for host in world.MACHINES:
        top = DEMO / host / part
        for path in [top, *top.rglob("*")]:
            status = path.lstat()
            content: str | bytes = ""
            if path.is_symlink():
                content = str(path.readlink())
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(DEMO))] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return found


def _processes() -> dict[str, int]:
    """The number of each service's process."""
    found = {host: DEMO / host / "run" / f"{service}.pid" for host, service in world.MACHINES.items()}
    return {host: int(path.read_text()) for host, path in found.items() if path.exists()}


def _ask(path: str) -> dict[str, dict[str, Any]]:
    """What each service answers to a path."""
    hosts = json.loads((DEMO / "inventory.yaml").read_text())["ultramcp"]["hosts"]
    told: dict[str, dict[str, Any]] = {}
    for host, values in hosts.items():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{values['port']}{path}", timeout=5) as reply:
                told[host] = json.load(reply)
        except urllib.error.HTTPError as error:
            told[host] = json.load(error)
        except OSError as error:
            told[host] = {"error": str(error)}
    return told


def _bold(text: str) -> str:
    return _paint(text, 1)


def _paint(text: str, code: int) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def main() -> int:
    """Bring the world up, tell the story, take it down. The exit code."""
    began = time.monotonic()
    world.down(DEMO)
    demo = Demo()
    try:
        world.up(DEMO)
        run(demo)
    except WentWrong:
        pass
    finally:
        world.down(DEMO)
    end = f"not as it should be: {'; '.join(demo.wrong)}" if demo.wrong else "all of it as it should be"
    print(f"\n{end} ({time.monotonic() - began:.0f} s)")
    return 1 if demo.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
