"""Lines with a long round trip, and lines that lose every fifth packet: slow, and right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.acceptance.world import COUNTER, World, differences
from tests.lab import Kind, Lab, Options, why_unavailable

pytestmark = [pytest.mark.lab, pytest.mark.long]

STEPS = f"""
- {{id: config, file: {{path: /srv/config, content: "{{{{ 'x' * 200000 }}}}"}}}}
- id: count
  command: "echo did >>{COUNTER}; head -c 100000 /dev/zero | tr '\\\\0' x; sleep 0.5"
  undo: {{command: "echo undid >>{COUNTER}"}}
- {{id: more, file: {{path: /srv/more, content: "{{{{ steps.count.outputs.stdout | length }}}}"}}}}
- {{id: check, command: "exit {{{{ inputs.code }}}}", reads_only: true}}
"""
LINES = {
    "200 ms": (Options((Kind.DEBIAN, Kind.BUSYBOX), delay_ms=100), 60.0),
    "20 % loss": (Options((Kind.DEBIAN, Kind.BUSYBOX), delay_ms=5, loss_percent=20), 240.0),
}


@pytest.mark.parametrize("line", LINES)
def test_a_bad_line_is_slow_and_right(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if why := why_unavailable():
        pytest.skip(why)
    options, bound = LINES[line]
    with Lab.up(options) as lab:
        here = World(lab, list(lab.hosts), tmp_path / "folder")
        here.sh("mkdir -p /srv /var/log /var/lib")
        here.write("ssh_config", "Host *\n  ConnectTimeout 60\n  ServerAliveInterval 10\n  ServerAliveCountMax 6\n")
        here.write("ultraplan.yaml", "ssh_config: ssh_config\nreconnect: 2m\n")
        before = here.trees()
        plan = here.plan(STEPS, inputs={"code": {"type": "integer", "default": 0}})
        began = time.monotonic()
        here.apply(plan, timeout=bound).expect(0)
        applied = time.monotonic() - began
        assert [here.counts(host) for host in here.hosts] == [{"did": 1}] * 2
        assert [here.text(host, "/srv/more") for host in here.hosts] == ["65536"] * 2
        here.run("rollback", "--yes", timeout=bound).expect(0)
        here.apply(plan, "-e", "code=1", timeout=bound).expect(1)
        with capsys.disabled():
            print(f"\n{line}: four steps on two hosts in {applied:.1f} s", end="")
        assert differences(before, here.trees()) == []
        assert [here.counts(host) for host in here.hosts] == [{"did": 2, "undid": 2}] * 2
