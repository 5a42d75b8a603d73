"""Plans compiled for this machine, in a folder of their own: previews of them look at real files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ultraplan.engine.job import Job, Request, compile_job
from ultraplan.engine.plan import Plan, Prediction
from ultraplan.engine.runs import preview
from ultraplan.engine.settings import find_settings


class Here:
    """A folder with an inventory of this machine. ``HERE`` in a plan's text is the folder."""

    def __init__(self, folder: Path, hosts: str = "localhost") -> None:
        self.folder = folder
        lines = [f"{host} ansible_connection=local ultraplan_state_dir={folder}/host\n" for host in hosts.split()]
        (folder / "hosts").write_text("".join(lines))

    @contextmanager
    def job(self, steps: str, head: str = "", **given: Any) -> Iterator[Job]:
        """The compiled plan of ``steps``."""
        plan = self.folder / "plan.yaml"
        plan.write_text(f"plan: here\n{head}\nsteps:\n{steps}".replace("HERE", str(self.folder)))
        settings = find_settings(self.folder, {"HOME": str(self.folder)}, str(self.folder / "state"))
        job = compile_job(Request(plan=str(plan), inventory=(str(self.folder / "hosts"),), given=given), settings)
        try:
            yield job
        finally:
            job.close()

    def plan(self, steps: str, head: str = "", **given: Any) -> Plan:
        """The preview of ``steps``."""
        with self.job(steps, head, **given) as job:
            return preview(job)

    def told(self, steps: str, head: str = "") -> dict[str, str]:
        """Step to action, certainty and what it depends on."""
        return {one.node: told(one) for one in self.plan(steps, head).predictions.values()}


def told(one: Prediction) -> str:
    """A prediction in a few words."""
    return f"{one.action} {one.certainty}" + (f": {one.because}" if one.because else "")
