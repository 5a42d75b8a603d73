"""A small world of real processes: three machines, each with one UltraMCP service. No root, no containers.

    python examples/ultramcp/world.py up FOLDER
    python examples/ultramcp/world.py down FOLDER

``up`` makes FOLDER: a folder for each machine, the releases that can be deployed, and inventory.yaml. Services are
started as the step `service` starts them, so that plans can stop and start them.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from ultraplan.shell import join, library, quote

HERE = Path(__file__).parent
MACHINES = {"store1": "event-store", "cod1": "cod-protocol", "gw1": "gateway"}
"""The machines, and the service of each."""

FIRST = "1.0"
"""The release that is installed at first."""


def up(world: Path) -> None:
    """Make the world in ``world``, which must not exist, and start its services."""
    world.mkdir(mode=0o700, parents=True)
    world = world.resolve()
    for release in sorted((HERE / "releases").iterdir()):
        made = world / "releases" / release.name
        shutil.copytree(HERE / "app", made, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(release / "release.py", made)
    ports = dict(zip(MACHINES, free_ports(len(MACHINES)), strict=True))
    (world / "inventory.yaml").write_text(inventory(world, ports), encoding="utf-8")
    for machine in MACHINES:
        install(world, machine, ports)
        shell(f"up_sv_start {quote(start_words(world / machine, MACHINES[machine]))}")


def down(world: Path) -> None:
    """Stop every service of the world and remove it."""
    for machine, service in MACHINES.items():
        pidfile = world.resolve() / machine / "run" / f"{service}.pid"
        if pidfile.exists():
            shell(f"up_sv_stop {quote(str(pidfile))} 50")
    if (world / "inventory.yaml").exists():
        shutil.rmtree(world)


def install(world: Path, machine: str, ports: dict[str, int]) -> None:
    """A machine with the first release, not started. What backups hold is below live/."""
    root, service = world / machine, MACHINES[machine]
    for folder in ("live/app/releases", "live/etc", "live/data", "run", "log", "backups", "state"):
        (root / folder).mkdir(mode=0o750, parents=True)
    live, etc = root / "live", root / "live" / "etc"
    shutil.copytree(world / "releases" / FIRST, live / "app" / "releases" / FIRST)
    (live / "app" / "current").symlink_to(f"releases/{FIRST}")
    write(etc / "service.json", json.dumps({
        "service": service, "address": "127.0.0.1", "port": ports[machine], "registry": f"{etc}/registry.json",
        "env_file": f"{etc}/service.env", "data": f"{live}/data"}, indent=2))
    write(etc / "service.env", f"# read by {service}\nULTRAMCP_KEY=key-of-{machine}\nULTRAMCP_LOG=info")
    write(etc / "registry.json", json.dumps({"services": {
        MACHINES[peer]: {"url": f"http://127.0.0.1:{port}"} for peer, port in ports.items()}}, indent=2))
    write(etc / "docker-compose.yml",
          f"services:\n  {service}:\n    image: ultramcp/{service}:{FIRST}\n    restart: unless-stopped")
    if service == "event-store":
        write(live / "data" / "events.jsonl", "\n".join(
            json.dumps({"id": number, "text": f"event {number}: ünïcode, 'quotes'"}, ensure_ascii=False)
            for number in range(1, 201)))
    else:
        write(live / "data" / "state.json", json.dumps({"service": service, "sessions": 3}))


def write(path: Path, text: str) -> None:
    """A file of mode 0640 that ends with a newline."""
    path.write_text(f"{text}\n", encoding="utf-8")
    path.chmod(0o640)


def start_words(root: Path, service: str) -> str:
    """What `up_sv_start` takes for the machine's service: as upgrade.yaml says it."""
    command = [sys.executable, f"{root}/live/app/current/service.py", f"{root}/live/etc/service.json"]
    return join([f"{root}/run/{service}.pid", f"{root}/log/{service}.log", str(root), "", f"exec {join(command)}"])


def inventory(world: Path, ports: dict[str, int]) -> str:
    """The machines for ultraplan: local connections, each with folders of its own. JSON is YAML."""
    hosts = {machine: {"service": service, "port": ports[machine], "root": f"{world}/{machine}",
                       "ultraplan_state_dir": f"{world}/{machine}/state"} for machine, service in MACHINES.items()}
    shared = {"ansible_connection": "local", "python": sys.executable, "releases": f"{world}/releases"}
    return json.dumps({"ultramcp": {"hosts": hosts, "vars": shared}}, indent=2) + "\n"


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on."""
    with ExitStack() as held:
        taken = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


def shell(program: str) -> None:
    """Run a program with the library that hosts get; raises CalledProcessError."""
    subprocess.run(["sh", "-c", f"{library()}\n{program}"], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("up", "down"):
        sys.exit(__doc__)
    (up if sys.argv[1] == "up" else down)(Path(sys.argv[2]))
