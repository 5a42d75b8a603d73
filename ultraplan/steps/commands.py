"""Steps that run a person's own program: `command` and `script`.

What they do cannot be known, so the plan has to say how they are undone. The engine runs the program in a
session of its own, with a bounded output and a deadline, and gives it its environment and account.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from ultraplan.secrets import has_marker, neutral
from ultraplan.shell import Program, Reply, Upload, join, quote
from ultraplan.steps.base import Change, FieldDiff, HostStep, State, StepFailed, WayBack
from ultraplan.steps.params import AbsolutePath, SourceFile

OUTPUT_LIMIT = 64 * 1024
"""Bytes of stdout and of stderr that become outputs."""

_NO_FOLDER = 125
"""The exit code of our own part of a program: what precedes the person's command could not be done."""

_LAST_LINES, _LAST_CHARACTERS = 5, 2000  # a line may be a megabyte

_REFUSED = ("a secret here would show in the process list or be run as program text; "
             "hand it over by `environment` or `stdin`")

_Text = Annotated[str, Meta(min_length=1)]
_Words = Annotated[list[str], Meta(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParams:
    """What `command` and `script` have in common."""

    chdir: Annotated[
        AbsolutePath | None, Meta(description="Folder on the host to run in; else the account's home folder")
    ] = None
    creates: Annotated[
        AbsolutePath | None,
        Meta(description="A path that this creates: where it exists already there is nothing to do, "
                         "and afterwards it has to exist"),
    ] = None
    removes: Annotated[
        AbsolutePath | None,
        Meta(description="A path that this removes: where it does not exist there is nothing to do, "
                         "and afterwards it must be gone"),
    ] = None
    stdin: Annotated[
        str | None, Meta(description="Text on its standard input, which is empty otherwise")
    ] = None
    ok_exit: Annotated[
        list[Annotated[int, Meta(ge=0, le=255)]],
        Meta(min_length=1, description="Exit codes that mean success"),
    ] = field(default_factory=lambda: [0])


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandParams(RunParams):
    """Parameters of `command`."""

    run: Annotated[
        _Text | None, Meta(description="A command line for `sh -c`: pipes, variables and all")
    ] = None
    argv: Annotated[
        _Words | None,
        Meta(description="A program and its arguments, each taken as it is, without a shell"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptParams(RunParams):
    """Parameters of `script`."""

    source: Annotated[SourceFile | None, Meta(description="The script, a file beside the plan")] = None
    content: Annotated[_Text | None, Meta(description="The script's text")] = None
    args: Annotated[
        list[str], Meta(description="Arguments, each taken as it is")
    ] = field(default_factory=list)
    interpreter: Annotated[
        str, Meta(min_length=1, description="The program on the host that runs the script, with its options")
    ] = "/bin/sh"


R = TypeVar("R", bound=RunParams)

_OUTPUTS = {
    "stdout": f"what it printed, without the last newline; at most {OUTPUT_LIMIT // 1024} KiB; "
              "empty where nothing had to be run",
    "stderr": "the same of its standard error",
    "exit": "its exit code; 0 where nothing had to be run",
    "json": "stdout as parsed JSON; null where it is not JSON",
}


class _RunStep(HostStep[R]):
    """The life of a foreign program; subclasses say what is run."""

    way_back = WayBack.DECLARED
    opaque = True
    outputs_doc = _OUTPUTS

    def probe(self, params: R) -> Program:
        tests = [
            f"if [ -e {quote(path)} ] || [ -L {quote(path)} ]; then echo {name}; fi"
            for name, path in (("creates", params.creates), ("removes", params.removes)) if path is not None
        ]
        return Program("\n".join(tests) or ":", gentle=True)

    def observe(self, params: R, reply: Reply) -> State:
        if reply.exit != 0:
            raise StepFailed(f"could not look for what it creates or removes: {reply.error_text.strip()}")
        there = reply.text.split()
        wanted = {"creates": params.creates, "removes": params.removes}
        return State({name: name in there for name, path in wanted.items() if path is not None})

    def unattended(self, params: R) -> Program | None:
        change = self.decide(params, State({"creates": False, "removes": True}))
        if change is None or change.forward is None:
            return None
        there = "[ -e {0} ] || [ -L {0} ]"
        guards = [f"if {there.format(quote(path))}; then exit {params.ok_exit[0]}; fi\n"
                  for path in (params.creates,) if path is not None]
        guards += [f"{there.format(quote(path))} || exit {params.ok_exit[0]}\n"
                   for path in (params.removes,) if path is not None]
        return replace(change.forward, text="".join(guards) + change.forward.text)

    def verify(self, params: R, state: State, reply: Reply) -> str | None:
        if reply.exit not in params.ok_exit:
            said = _tail(reply.error_text) or _tail(reply.text)
            how = f"exit code {reply.exit}" + _signal(reply.exit)
            return f"{how}: {said}" if said else f"{how}, and it said nothing"
        if params.creates is not None and not state.facts["creates"]:
            return f"exit code {reply.exit}, but {params.creates} (creates) does not exist"
        if params.removes is not None and state.facts["removes"]:
            return f"exit code {reply.exit}, but {params.removes} (removes) still exists"
        return None

    def outputs(self, params: R, state: State, reply: Reply | None) -> Mapping[str, Any]:
        if reply is None:
            return {"stdout": "", "stderr": "", "exit": 0, "json": None}
        whole = not reply.truncated and len(reply.stdout) <= OUTPUT_LIMIT
        stdout = _bounded(reply.stdout)
        return {
            "stdout": stdout, "stderr": _bounded(reply.stderr), "exit": reply.exit,
            "json": _parsed(stdout) if whole else None,
        }


class CommandStep(_RunStep[CommandParams]):
    """Run a command line or a program."""

    name = "command"
    summary = "Run a command on the host"
    Params = CommandParams
    shorthand = "run"
    example = """\
- id: count
  command: "echo '{\\"files\\": 3}'"
  reads_only: true

- id: prepare
  command:
    run: "mkdir data && printf '%s' ready > data/state"
    chdir: "{{ inputs.root }}"
    creates: "{{ inputs.root }}/data/state"
  undo:
    command: {argv: [rm, -r, --, "{{ inputs.root }}/data"], removes: "{{ inputs.root }}/data"}

- id: search
  command: {argv: [grep, -c, "it's $(not) run", "{{ inputs.root }}/data/state"], ok_exit: [0, 1]}
  reads_only: true
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        found = _one_of(raw, "run", "argv") + _secrets_in(raw, "run", "argv")
        argv = raw.get("argv")
        if isinstance(argv, list) and argv and isinstance(argv[0], str) and argv[0].startswith("-"):
            found.append((("argv", 0), f"a program's name cannot begin with a dash: {argv[0]!r}"))
        return found

    def decide(self, params: CommandParams, state: State) -> Change | None:
        if _nothing_to_do(params, state):
            return None
        if params.argv is not None:
            _refuse_secrets("argv", *params.argv)
            if params.argv[0].startswith("-") or not params.argv[0]:
                raise StepFailed(f"argv: {params.argv[0]!r} cannot be a program's name")
            # `exec` takes a program: never an assignment, a keyword, a builtin or a function.
            line, program = join(params.argv), f"exec {join(params.argv)}"
        elif params.run is not None:
            _refuse_secrets("run", params.run)
            # The person's text is one word: a mistake in it ends that shell and nothing else.
            line, program = params.run, f"exec sh -c {quote(params.run)}"
        else:
            raise StepFailed("needs `run` or `argv`")
        return _change(params, line, program)


class ScriptStep(_RunStep[ScriptParams]):
    """Send a script and run it."""

    name = "script"
    summary = "Run a script of the controller on the host"
    Params = ScriptParams
    example = """\
- id: collect
  script:
    content: |
      for name in "$@"; do
        printf '%s\\n' "$name"
      done > names.txt
    args: ["a name", "$(another)"]
    chdir: "{{ inputs.root }}"
    creates: "{{ inputs.root }}/names.txt"
  undo:
    command: {argv: [rm, -f, --, "{{ inputs.root }}/names.txt"]}
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        return _one_of(raw, "source", "content") + _secrets_in(raw, "content", "args")

    def decide(self, params: ScriptParams, state: State) -> Change | None:
        if _nothing_to_do(params, state):
            return None
        _refuse_secrets("args", *params.args)
        source: bytes | Path
        if params.source is not None:
            name, source = params.source.name, params.source.path
            digest = _digest_of(params.source)
        elif params.content is not None:
            _refuse_secrets("content", params.content)
            name, source = "its own text", params.content.encode()
            digest = hashlib.sha256(source).hexdigest()
        else:
            raise StepFailed("needs `source` or `content`")
        try:
            interpreter = shlex.split(params.interpreter)
        except ValueError as error:
            raise StepFailed(f"interpreter: {error}") from None
        if not interpreter or interpreter[0].startswith("-"):
            raise StepFailed(f"interpreter: {params.interpreter!r} cannot be a program's name")
        upload = Upload(f"script-{digest[:32]}", source)  # the scratch folder is the whole run's
        program = f'exec {join(interpreter)} "$UP_TMP"/{upload.name} {join(params.args)}'.rstrip()
        line = " ".join([params.interpreter, f"({name})", join(params.args)]).rstrip()
        return _change(params, line, program, (upload,))


STEPS = (CommandStep, ScriptStep)


def _digest_of(source: SourceFile) -> str:
    try:
        with source.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StepFailed(f"source {source.name} cannot be read: {error.strerror}") from None


def _nothing_to_do(params: RunParams, state: State) -> bool:
    created = params.creates is not None and state.facts["creates"]
    removed = params.removes is not None and not state.facts["removes"]
    return bool(created or removed)


def _change(params: RunParams, line: str, program: str, uploads: tuple[Upload, ...] = ()) -> Change:
    parts = []
    if params.chdir is not None:
        parts.append(f"cd {quote(params.chdir)} || exit {_NO_FOLDER}\n")
    if params.stdin is not None:
        parts.append(f"printf %s {quote(params.stdin)} | ")
    first, *more = line.strip().splitlines() or [""]
    short = first if len(first) <= 60 and not more else first[:59] + "…"
    return Change(
        summary=f"run {short}",
        diff=(FieldDiff("run", None, line),),
        forward=Program("".join(parts) + program, uploads, foreign=True),
        touches=tuple(f"path:{path}" for path in (params.creates, params.removes) if path is not None),
    )


def _one_of(raw: Mapping[str, Any], first: str, second: str) -> list[tuple[tuple[str | int, ...], str]]:
    given = [name for name in (first, second) if raw.get(name) is not None]
    if not given:
        return [((), f"needs `{first}` or `{second}`")]
    if len(given) == 2:
        return [((second,), f"`{first}` and `{second}` exclude each other")]
    return []


def _secrets_in(raw: Mapping[str, Any], *names: str) -> list[tuple[tuple[str | int, ...], str]]:
    """Where parameters that become program text or arguments are secrets."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    for name in names:
        value = raw.get(name)
        if _is_secret(value):
            found.append(((name,), _REFUSED))
        elif isinstance(value, list):
            found += [((name, index), _REFUSED) for index, word in enumerate(value) if _is_secret(word)]
    return found


def _is_secret(value: Any) -> bool:
    return isinstance(value, Mapping) and "secret" in value


def _refuse_secrets(name: str, *texts: str) -> None:
    if any(map(has_marker, texts)):
        raise StepFailed(f"{name}: {_REFUSED}")


def _bounded(output: bytes) -> str:
    return neutral(output[:OUTPUT_LIMIT].decode("utf-8", "replace")).rstrip("\n")


def _parsed(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


def _tail(text: str) -> str:
    """The last lines of ``text``, those that say what went wrong."""
    lines = [line for line in text.splitlines() if line.strip()][-_LAST_LINES:]
    return neutral("\n".join(lines)[-_LAST_CHARACTERS:])


def _signal(code: int) -> str:
    """Which signal an exit code above 128 stands for in a shell."""
    import signal

    try:
        return f" ({signal.Signals(code - 128).name})" if code > 128 else ""
    except ValueError:
        return ""
