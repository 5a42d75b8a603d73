"""The step that starts and stops services: systemd's units, or a process kept by a pid file.

The shell functions are in ``ultraplan/shell/lib/40-services.sh``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ultraplan.language.values import Duration
from ultraplan.secrets import has_marker
from ultraplan.shell import Program, Reply, join, quote
from ultraplan.steps.base import Change, Diff, FieldDiff, HostStep, State, StepFailed
from ultraplan.steps.params import AbsolutePath

_ENABLED = ("enabled", "enabled-runtime", "alias")
_UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
                 "/usr/lib/systemd/system", "/lib/systemd/system")
_WORDS = {"started": "start", "stopped": "stop", "restarted": "restart", "reloaded": "reload"}

Wanted = Literal["started", "stopped", "restarted", "reloaded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParams:
    """Parameters of `service`."""

    name: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9:_.@\\-]*$", description="The service; for systemd, its unit"),
    ]
    state: Annotated[
        Wanted | None,
        Meta(description="What it should be. `restarted` and `reloaded` do so each time, and start a service "
                         "that does not run"),
    ] = None
    enabled: Annotated[bool | None, Meta(description="Whether it starts at boot (systemd only)")] = None
    manager: Annotated[
        Literal["auto", "systemd", "pidfile"],
        Meta(description="What keeps it; `auto` is pidfile where a `command` or a `pidfile` is given, else "
                         "systemd"),
    ] = "auto"
    command: Annotated[
        str | list[str] | None,
        Meta(description="For pidfile: what to run; it has to stay in the foreground. A list is a program and "
                         "its arguments, a string a line for `sh -c`. Stopping does not need it"),
    ] = None
    pidfile: Annotated[
        AbsolutePath | None, Meta(description="For pidfile: where its number is kept; else /run/NAME.pid")
    ] = None
    chdir: Annotated[AbsolutePath, Meta(description="For pidfile: the folder it runs in")] = "/"
    log: Annotated[
        AbsolutePath | None,
        Meta(description="For pidfile: the file that its output is appended to; else the pid file's name, "
                         "with .log. One that was not there before is removed when the step is undone"),
    ] = None
    stop_timeout: Annotated[
        Duration, Meta(description="For pidfile: how long it has to end by itself before it is killed")
    ] = field(default_factory=lambda: Duration(10))
    user: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")] | None,
        Meta(description="For pidfile: the account it runs as"),
    ] = None

    @property
    def by_pidfile(self) -> bool:
        """Whether a pid file keeps it."""
        if self.manager == "auto":
            return self.command is not None or self.pidfile is not None
        return self.manager == "pidfile"

    @property
    def pid_path(self) -> str:
        """The pid file."""
        return self.pidfile or f"/run/{self.name}.pid"

    @property
    def log_path(self) -> str:
        """The file that takes its output."""
        return self.log or self.pid_path.removesuffix(".pid") + ".log"


class Service(HostStep[ServiceParams]):
    """Starts, stops, restarts, reloads, enables and disables a service.

    Undone, it is as it was: stopped again, or started again (by pid file: with the words that ran before). A
    restart is undone by a restart. As undoing goes backwards, that comes before the files of earlier steps are
    back; where a service has to go back together with its files, stop it before them and start it after them.
    """

    name = "service"
    guards_undo = False
    decides_by_facts = True
    summary = "Start, stop, restart or reload a service, and say whether it starts at boot"
    Params = ServiceParams
    outputs_doc: ClassVar[Mapping[str, str]] = {
        "active": "whether it runs",
        "enabled": "systemd's word for its start at boot (enabled, disabled, static …); null for a pid file",
        "manager": "what keeps it: systemd or pidfile",
    }
    example = """\
- id: worker
  service:
    name: worker
    state: started
    command: [sleep, "1000"]
    pidfile: "{{ inputs.root }}/worker.pid"
"""

    def check(self, raw: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        found: list[tuple[tuple[str | int, ...], str]] = []
        pidfile = raw.get("manager", "auto") == "pidfile" or (
            raw.get("manager", "auto") == "auto" and ("command" in raw or "pidfile" in raw))
        if "state" not in raw and "enabled" not in raw:
            found.append(((), "says neither `state` nor `enabled`, so there is nothing to do"))
        if pidfile and "enabled" in raw:
            found.append((("enabled",), "a pid file cannot start a service at boot; `enabled` needs systemd"))
        if pidfile and raw.get("state") in ("started", "restarted") and "command" not in raw:
            found.append(((), f"`state: {raw['state']}` with a pid file needs the `command` to run"))
        if raw.get("manager") == "systemd":
            found += [((key,), f"`{key}` is for `manager: pidfile`; a systemd unit says it itself")
                      for key in ("command", "pidfile", "chdir", "log", "stop_timeout", "user") if key in raw]
        return found

    def resources(self, params: ServiceParams) -> tuple[str, ...]:
        mine = f"service:{params.name}"
        if params.by_pidfile:
            return (mine,)
        unit = params.name if "." in params.name else f"{params.name}.service"
        return (mine, *(f"path:{folder}/{unit}" for folder in _UNIT_FOLDERS))

    def reach(self, known: Mapping[str, Any]) -> tuple[str, ...] | None:
        name = known.get("name")
        return (f"service:{name}",) if isinstance(name, str) else None

    def probe(self, params: ServiceParams) -> Program:
        if params.by_pidfile:
            return Program(f"up_sv_probe {quote(params.pid_path)}")
        return Program(f"up_unit_probe {quote(params.name)}")

    def observe(self, params: ServiceParams, reply: Reply) -> State:
        said = reply.text.strip()
        if reply.exit != 0 or not said:
            why = reply.error_text.strip() or said or "no answer"
            raise StepFailed(f"could not look at {params.name}: {why}")
        return _observe_pidfile(params, said) if params.by_pidfile else _observe_unit(params, said)

    def decide(self, params: ServiceParams, state: State) -> Change | None:
        acts = _act(params, state)
        enables = _enabling(params, state)
        if acts is None and enables is None:
            return None
        active = state.facts["active"]
        wants = params.state != "stopped" if acts else active
        parts = [word for word in (acts, enables) if word]
        diff: list[Diff] = []
        if acts:
            diff.append(FieldDiff("state", _told(active), params.state, f"{acts}s {params.name}"))
        after = {**state.facts, "active": wants}
        if enables:
            after["enabled"] = f"{enables}d"
            diff.append(FieldDiff("enabled", state.facts["enabled"], f"{enables}d"))
        forward, reverse = (_pidfile_programs(params, acts) if params.by_pidfile
                            else _unit_programs(params, state, acts, enables))
        # A oneshot unit may be over as soon as it has run; whether it stays active only its unit file knows.
        known = not (state.detail.get("oneshot") and acts and acts != "stop")
        return Change(
            summary=" and ".join(parts), diff=tuple(diff), forward=forward, reverse=reverse,
            after=after if known else None,
            outputs=_outputs(after) if known else None, touches=(f"service:{params.name}",),
            down=(params.name,) if active and acts in ("stop", "restart") else (),
        )

    def verify(self, params: ServiceParams, state: State, reply: Reply) -> str | None:
        if reply.exit != 0:
            return reply.error_text.strip() or f"exit code {reply.exit}"
        active = state.facts["active"]
        if params.state == "stopped" and active:
            return f"{params.name} still runs, or runs again"
        if params.state not in (None, "stopped"):
            if not active and not state.detail.get("ran"):
                return f"{params.name} does not stay up: {state.detail.get('told', 'it has ended')}"
            if (was := _instance(reply)) and was != state.detail["instance"]:
                return f"{params.name} does not stay up: it has ended and was started again"
        if _enabling(params, state) is not None:
            return f"{params.name} is {state.facts['enabled']}"
        return None

    def outputs(self, params: ServiceParams, state: State, reply: Reply | None) -> Mapping[str, Any]:
        return _outputs(state.facts)


def _outputs(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("active", "enabled", "manager")}


def _told(active: bool) -> str:
    return "running" if active else "stopped"


def _instance(reply: Reply) -> str | None:
    """Which instance of the service the effect saw running."""
    found = [line.removeprefix("instance ") for line in reply.text.splitlines() if line.startswith("instance ")]
    return found[-1] if found else None


def _observe_pidfile(params: ServiceParams, said: str) -> State:
    word, _, rest = said.partition(" ")
    if word == "unknown":
        raise StepFailed(
            f"{params.pid_path} names the living process {rest}, which was not started from here: it may be "
            f"anybody's. Stop it by hand and remove the file")
    return State({"manager": "pidfile", "active": word == "active", "enabled": None}, {"instance": rest})


def _observe_unit(params: ServiceParams, said: str) -> State:
    if said == "none":
        raise StepFailed(
            f"no systemd runs on this host; give {params.name} a `command` and it is kept by a pid file instead")
    unit = dict(line.partition("=")[::2] for line in said.splitlines())
    load = unit.get("LoadState")
    if load == "not-found":
        raise StepFailed(
            f"this host has no unit {params.name}; `systemctl list-unit-files` shows those it has")
    if load in ("error", "bad-setting"):
        raise StepFailed(f"systemd cannot read the unit {params.name}: see `systemctl status {params.name}`")
    phase, sub, result = unit.get("ActiveState", ""), unit.get("SubState", ""), unit.get("Result", "")
    active = phase in ("active", "reloading", "refreshing") or (phase == "activating" and sub != "auto-restart")
    oneshot = unit.get("Type") == "oneshot"
    return State(
        {"manager": "systemd", "active": active,
         "enabled": "masked" if load == "masked" else unit.get("UnitFileState") or None},
        {"instance": f"{unit.get('InvocationID', '')}:{unit.get('NRestarts', '')}", "oneshot": oneshot,
         "ran": oneshot and phase == "inactive" and result == "success",
         "reloads": unit.get("CanReload") == "yes", "told": f"systemd says {phase} ({sub}), result {result}"})


def _act(params: ServiceParams, state: State) -> str | None:
    """What has to be done for the wanted state: start, stop, restart, reload, or None."""
    active, wanted = state.facts["active"], params.state
    if wanted is None or (wanted == "started" and active) or (wanted == "stopped" and not active):
        return None
    if wanted != "stopped" and state.facts["enabled"] == "masked":
        raise StepFailed(f"{params.name} is masked; `systemctl unmask {params.name}` first")
    if not active and wanted in ("restarted", "reloaded"):
        wanted = "started"
    if wanted == "reloaded" and not state.detail.get("reloads", True):
        raise StepFailed(f"{params.name} cannot reload; use `state: restarted`")
    return _WORDS[wanted]


def _enabling(params: ServiceParams, state: State) -> str | None:
    """``enable``, ``disable``, or None where its start at boot is as wanted."""
    now = state.facts["enabled"]
    if params.enabled is None or params.enabled == (now in _ENABLED):
        return None
    if params.by_pidfile:
        raise StepFailed("a pid file cannot start a service at boot; `enabled` needs systemd")
    if now in ("enabled", "enabled-runtime", "disabled"):
        return "enable" if params.enabled else "disable"
    if not params.enabled:
        return None
    raise StepFailed(f"{params.name} cannot be enabled and disabled again: its unit file is {now or 'missing'}")


def _programs(secure: str, forward: Sequence[str], reverse: Sequence[str]) -> tuple[Program, Program]:
    return (Program(" &&\n".join([secure, *forward])),
            Program('[ -e "$UP_PRE" ] || exit 0\n' + " &&\n".join([*reverse, 'rm -f -- "$UP_PRE"'])))


def _pidfile_programs(params: ServiceParams, acts: str | None) -> tuple[Program, Program]:
    pidfile, tenths = quote(params.pid_path), max(1, math.ceil(params.stop_timeout * 10))
    stop = f"up_sv_stop {pidfile} {tenths}"
    secure = f"up_sv_secure {pidfile}"
    if acts == "stop":
        return _programs(secure, [stop], [f"up_sv_back {pidfile} {tenths} ''"])
    if acts == "reload":
        reload = f"up_sv_reload {pidfile}"
        return _programs(secure, [reload], [reload])
    start, log = f"up_sv_start {quote(_words(params))}", quote(params.log_path)
    again = "again" if acts == "restart" else "''"
    return _programs(f"{secure} {log}", [stop, start] if acts == "restart" else [start],
                     [f"up_sv_back {pidfile} {tenths} {again} {log}"])


def _words(params: ServiceParams) -> str:
    """The quoted words that `up_sv_start` takes, as text."""
    command = params.command
    if not command:
        raise StepFailed(f"{params.name} does not run, and without a `command` it cannot be started")
    text = command if isinstance(command, str) else f"exec {join(command)}"
    if has_marker(text):
        raise StepFailed(
            "a secret in `command` would show in the process list; hand it over by `environment`")
    return join([params.pid_path, params.log_path, params.chdir, params.user or "", text])


def _unit_programs(params: ServiceParams, state: State, acts: str | None,
                   enables: str | None) -> tuple[Program, Program]:
    unit, active = quote(params.name), state.facts["active"]
    forward: list[str] = []
    reverse: list[str] = []
    if acts:
        forward.append(f"up_unit_do {acts} {unit}")
        if acts != "stop":
            forward.append(f"up_unit_settled {unit}")
        back = {"start": "stop", "stop": "start"}.get(acts, acts)
        reverse.append(f"up_unit_do {back} {unit}")
    if enables:
        scope = " --runtime" if state.facts["enabled"] == "enabled-runtime" else ""
        back = "disable" if enables == "enable" else "enable"
        forward.append(f"systemctl --no-ask-password{scope} {enables} -- {unit}")
        reverse.insert(0, f"systemctl --no-ask-password{scope} {back} -- {unit}")
    return _programs(f'echo {_told(active)} >"$UP_PRE"', forward, reverse)


STEPS = (Service,)
