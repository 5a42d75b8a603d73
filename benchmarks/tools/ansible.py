"""Ansible as one tunes it: 50 forks, pipelining, shared connections, no facts. And the same with Mitogen."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

from benchmarks.environments import environment
from benchmarks.tools.base import Phase, Tool
from benchmarks.work import MODE

_FORKS = 50
_PATIENCE = 120  # seconds to connect: on a busy machine the default of 10 makes hosts unreachable


class Ansible(Tool):
    """ansible-core."""

    name = "ansible"
    label = "Ansible, tuned"
    peer = "ansible"

    def prepare(self) -> None:
        folder, work = self.site.folder, self.site.work
        self.site.inventory(interpreter=True)
        tasks: list[object] = []
        for number in work.numbers():
            tasks.append({"name": f"file {number}", "ansible.builtin.copy": {
                "content": work.content(number), "dest": work.path(number), "mode": MODE}})
            tasks.append({"name": f"copy {number}", "ansible.builtin.command": {"argv": list(work.command(number))}})
        play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
        (folder / "playbook.yml").write_text(json.dumps([play], indent=1))
        (folder / "ansible.cfg").write_text("\n".join([
            "[defaults]", f"forks = {_FORKS}", "gathering = explicit", "host_key_checking = True",
            "retry_files_enabled = False", f"timeout = {_PATIENCE}", *self._settings(),
            "[ssh_connection]", "pipelining = True",
            f"control_path_dir = {folder}/cp",
            "ssh_args = -o ControlMaster=auto -o ControlPersist=60s", ""]))

    def _settings(self) -> list[str]:
        return []

    def command(self, phase: Phase) -> list[str]:
        dry = ["--check", "--diff"] if phase == "preview" else []
        binary = environment(str(self.peer)) / "bin" / "ansible-playbook"
        folder = self.site.folder
        return [str(binary), "-i", str(folder / "inventory.yaml"), *dry, str(folder / "playbook.yml")]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "ANSIBLE_CONFIG": str(self.site.folder / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCAL_TEMP": str(self.site.folder / "tmp")}

    def close(self) -> None:
        """Ends the masters that ControlPersist keeps."""
        for control in (self.site.folder / "cp").glob("*"):
            subprocess.run(["ssh", "-o", f"ControlPath={control}", "-O", "exit", "none"], check=False,
                           capture_output=True)


class Mitogen(Ansible):
    """ansible-core with the Mitogen strategy."""

    name = "mitogen"
    label = "Ansible + Mitogen"
    peer = "mitogen"

    def _settings(self) -> list[str]:
        [plugins] = Path(environment("mitogen")).glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy")
        return [f"strategy_plugins = {shlex.quote(str(plugins))}", "strategy = mitogen_linear"]
