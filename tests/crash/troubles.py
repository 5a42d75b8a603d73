"""How a run gets into trouble: one function for each way. Afterwards the hosts are up, the disks work, and the run
waits for somebody to go on with it.

A function may give another one, which is called while the command that goes on is under way (`Meanwhile`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

from tests.crash.cells import Cell
from tests.crash.disks import Disk
from tests.crash.sites import LabMachine
from tests.crash.wal import tear as tear_wal
from tests.crash.world import World, until
from ultraplan.journal.events import TakenOver

Meanwhile = Callable[[subprocess.Popen[bytes]], None]
FENCED, LOCKED = 1, 6
"""Exit codes of a controller that was turned away by a host, or by the store."""


def begin(world: World, cell: Cell, fault: str = "", *, stop: bool = False) -> subprocess.Popen[bytes]:
    """Start what gets into trouble: `apply`, or, going back, an `apply` that fails or a `rollback`."""
    if not cell.trouble.back:
        return world.start_apply(fault=fault, stop=stop)
    if cell.verb == "resume" and cell.kind != "irreversible":
        return world.start_apply(fails=True, fault=fault, stop=stop)
    done = world.end(world.start_apply())
    assert done.code == 0, done.said
    return world.start("rollback", "--yes", fault=fault, stop=stop)


def plainly(cell: Cell) -> list[str]:
    """The command that goes on, without a run's id."""
    return [cell.verb] if cell.verb == "resume" else [cell.verb, "--yes"]


def at(world: World, cell: Cell) -> str:
    """The cell's fault point, passed by the host in the middle."""
    point = cell.trouble.point.replace("UNDONE", cell.undone)
    return f"{point}:{len(world.hosts) // 2 + 1}" if "@" in point else point


def kill(world: World, cell: Cell) -> None:
    """SIGKILL at the fault point."""
    world.killed(begin(world, cell, at(world, cell)))
    _quiet(world, cell)


def tear(world: World, cell: Cell) -> None:
    """SIGKILL right after a write, of which only a part reached the disk."""
    kill(world, cell)
    fraction = {"local": 0.5, "ssh": 0.999, "fleet": 0.01}[cell.place]
    tear_wal(world.state / "journal.db-wal", fraction)
    world.story.append("  the last write is torn")


def second_kill(world: World, cell: Cell) -> None:
    """After a first kill what goes on is killed too, before a write of its own."""
    kill(world, cell)
    world.killed(world.start(*plainly(cell), fault=f"before-write:{cell.write}"))
    _quiet(world, cell)


def kill_failing(world: World, cell: Cell) -> None:
    """SIGKILL when the last step has failed, before anything is made of that."""
    world.killed(world.start_apply(fails=True, fault=at(world, cell)))


def kill_asking(world: World, cell: Cell) -> None:
    """What goes on is killed when it has asked a host for a receipt."""
    kill(world, cell)
    world.killed(world.start(*plainly(cell), fault="during-recovery"))


def kill_thrice(world: World, cell: Cell) -> None:
    """What goes on is killed, and so is what goes on after it."""
    kill(world, cell)
    for write in (2, 3):
        world.killed(world.start(*plainly(cell), fault=f"before-write:{write}"))


# -- in the middle of an effect ---------------------------------------------------------------------------------------

def middle_ends(world: World, cell: Cell) -> None:
    """Killed in the middle of an effect, which goes on and ends well."""
    name = _held(world, cell)
    _let_go(world, name)


def middle_runs(world: World, cell: Cell) -> Meanwhile:
    """Killed in the middle of an effect, which still runs when somebody goes on."""
    name = _held(world, cell)
    before = _take_overs(world)

    def later(process: subprocess.Popen[bytes]) -> None:
        if cell.verb == "rollback" and not cell.trouble.back:
            process.wait(60)  # it ends what still runs: nothing of that may happen afterwards
        else:
            until(lambda: _take_overs(world) > before, "the take-over")
            time.sleep(1)
        for host in world.hosts:
            host.let_go(name)
        time.sleep(0.3)

    return later


def middle_dies(world: World, cell: Cell) -> None:
    """Killed in the middle of an effect, which dies on one host without a word."""
    name = _held(world, cell)
    world.victim.kill_effect(name, foreign=cell.kind != "idempotent")
    _let_go(world, name, but=world.victim.name)


def reboot(world: World, cell: Cell) -> None:
    """Killed in the middle of an effect; then one host is rebooted."""
    name = _held(world, cell, alive=world.power is not None)
    machine = world.victim.machine
    if isinstance(machine, LabMachine):
        machine.lab.boot(machine.name)
    else:
        assert world.power is not None
        world.power.off()
    world.story.append("  reboot")
    _let_go(world, name, but=world.victim.name)


def _held(world: World, cell: Cell, *, alive: bool = False) -> str:
    """Bring the run into the middle of an effect on every host, and kill it there; gives the effect's name."""
    name = f"undo-{cell.undone}" if cell.trouble.back else "fire"
    for host in world.hosts:
        host.hold(name)
    process = begin(world, cell)
    until(lambda: all(host.counts()[f"did:{name}"] for host in world.hosts), f"{name} begins")
    if not alive:
        world.kill(process)
    return name


def _let_go(world: World, name: str, but: str = "") -> None:
    for host in world.hosts:
        host.let_go(name)
    for host in world.hosts:
        if host.name != but:
            until(lambda host=host: host.counts()[f"done:{name}"] > 0, f"{name} ends")  # type: ignore[misc]


def _quiet(world: World, cell: Cell) -> None:
    """What was under way on other hosts when the controller was killed comes to its end."""
    if len(world.hosts) > 1:
        time.sleep(0.1)  # for what was on its way
        until(lambda: not any(host.busy() for host in world.hosts), "effects end")


# -- disks ------------------------------------------------------------------------------------------------------------

def store_full(world: World, cell: Cell) -> None:
    """The controller's disk fills up right before a write."""
    disk, process = _stopped_with_disk(world, cell)
    disk.fill()
    _refused(world, process, "the disk is full")
    disk.free()


def store_broken(world: World, cell: Cell) -> None:
    """The controller's disk breaks right before a write; afterwards it holds what had been flushed."""
    disk, process = _stopped_with_disk(world, cell)
    disk.fail(lose=True)
    _refused(world, process, "could not be read or written")
    disk.repair()


def power_cut(world: World, cell: Cell) -> None:
    """The controller's machine loses power; its disk holds what had been flushed."""
    disk, process = _stopped_with_disk(world, cell)
    disk.fail(lose=True)
    process.kill()
    process.wait()
    world.story.append("  power cut")
    disk.repair()
    _quiet(world, cell)


def _stopped_with_disk(world: World, cell: Cell) -> tuple[Disk, subprocess.Popen[bytes]]:
    disk = Disk(world.state)
    world.hosts[0].disks.append(disk)
    process = begin(world, cell, at(world, cell), stop=True)
    world.stopped(process)
    return disk, process


def _refused(world: World, process: subprocess.Popen[bytes], why: str) -> None:
    process.send_signal(signal.SIGCONT)
    done = world.end(process)
    assert done.code == 1, f"wanted exit 1: {done.said}"
    assert why in done.said, f"it does not say {why!r}: {done.said}"


def host_full(world: World, cell: Cell) -> None:
    """A host's disk fills up in the middle of an effect: nothing can be claimed after it."""
    disk, process = _held_with_disk(world, cell)
    disk.fill()
    _failed_on_host(world, cell, process, "is the disk full")
    disk.free()


def host_broken(world: World, cell: Cell) -> None:
    """A host's disk breaks in the middle of an effect, and is repaired later."""
    disk, process = _held_with_disk(world, cell)
    disk.fail(lose=False)
    _failed_on_host(world, cell, process, "")
    disk.repair()


def _held_with_disk(world: World, cell: Cell) -> tuple[Disk, subprocess.Popen[bytes]]:
    disk = world.victim.machine.disk(f"{world.victim.base}/state")
    world.victim.disks.append(disk)
    for host in world.hosts:
        host.hold("fire")
    process = begin(world, cell)
    until(lambda: all(host.counts()["did:fire"] for host in world.hosts), "fire begins")
    return disk, process


def _failed_on_host(world: World, cell: Cell, process: subprocess.Popen[bytes], why: str) -> None:
    """What comes next fails on that host, and cannot be undone there either; after what burned there is no way back."""
    for host in world.hosts:
        host.let_go("fire")
    done = world.end(process)
    assert done.code == (5 if cell.kind == "irreversible" else 4), f"wanted another exit code: {done.said}"
    assert why in done.said, f"it does not say {why!r}: {done.said}"


# -- a controller that wakes up too late ------------------------------------------------------------------------------

def paused(world: World, cell: Cell) -> Meanwhile:
    """A controller is stopped, somebody takes over, it wakes up while he is at it."""
    old = _paused(world, cell)
    before = _take_overs(world)

    def wakes(process: subprocess.Popen[bytes]) -> None:
        until(lambda: _take_overs(world) > before or process.poll() is not None, "the take-over")
        _turned_away(world, old)

    return wakes


def paused_until_over(world: World, cell: Cell) -> Meanwhile:
    """A controller is stopped, somebody takes over and ends the run, it wakes up."""
    old = _paused(world, cell)

    def wakes(process: subprocess.Popen[bytes]) -> None:
        process.wait(60)
        _turned_away(world, old)

    return wakes


def _paused(world: World, cell: Cell) -> subprocess.Popen[bytes]:
    process = begin(world, cell, at(world, cell), stop=True)
    world.stopped(process)
    world.lease_expires()
    return process


def _take_overs(world: World) -> int:
    return sum(isinstance(record.event, TakenOver) for record in world.journal())


def _turned_away(world: World, process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGCONT)
    done = world.end(process)
    assert done.code in (LOCKED, FENCED), f"a controller that was taken over: {done.said}"
    assert "took" in done.said or "taken over" in done.said, f"it does not say that it was taken over: {done.said}"
