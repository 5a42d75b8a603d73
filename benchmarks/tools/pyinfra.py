"""pyinfra, as its documentation says it."""

from __future__ import annotations

import shlex

from benchmarks.environments import environment
from benchmarks.tools.base import Phase, Tool
from benchmarks.work import MODE


class Pyinfra(Tool):
    """``files.put`` and ``server.shell``."""

    name = "pyinfra"
    label = "pyinfra"
    peer = "pyinfra"

    def prepare(self) -> None:
        site, work = self.site, self.site.work
        data = {"ssh_user": "root", "ssh_key": str(site.key), "ssh_known_hosts_file": str(site.known_hosts),
                "ssh_strict_host_key_checking": "yes"}
        hosts = [(host, {"ssh_hostname": site.address(host), **data}) for host in site.hosts]
        (site.folder / "inventory.py").write_text(f"hosts = {hosts!r}\n")
        lines = ["from io import StringIO", "from pyinfra.operations import files, server"]
        for number in work.numbers():
            lines.append(f"files.put(name='file {number}', src=StringIO({work.content(number)!r}), "
                         f"dest={work.path(number)!r}, mode={MODE.lstrip('0')!r})")
            lines.append(f"server.shell(name='copy {number}', commands=[{shlex.join(work.command(number))!r}])")
        (site.folder / "deploy.py").write_text("\n".join(lines) + "\n")

    def command(self, phase: Phase) -> list[str]:
        folder, binary = self.site.folder, environment("pyinfra") / "bin" / "pyinfra"
        how = "--dry" if phase == "preview" else "--yes"
        return [str(binary), how, str(folder / "inventory.py"), str(folder / "deploy.py")]
