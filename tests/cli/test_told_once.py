"""What went wrong is told once, and with what to do about it."""

from __future__ import annotations

import json
import socket

from tests.cli.program import Program


def _lines(text: str, word: str) -> list[str]:
    return [line[10:].strip() for line in text.splitlines() if word in line]


def test_the_last_attempts_failure_is_the_steps_and_told_once(up: Program) -> None:
    plan = up.plan('- {id: broken, command: {run: "echo it broke >&2; exit 7"}, undo: {command: "true"}}')
    out = up("apply", plan, "--yes", code=1).stdout
    body = out[out.index("run opened"):out.index("closed:")]
    assert len(_lines(body, "it broke")) == 2  # as the step's failure, and as the cause of going back
    assert len(_lines(body, "failed: ")) == 1
    story = up("runs", "show").stdout
    timeline = story[story.index("what happened"):story.index("where it stands")]
    assert len(_lines(timeline, "failed: ")) == 1
    followed = up("runs", "follow", code=1).stdout
    assert len(_lines(followed, "failed: ")) == 1


def test_each_attempt_is_told_once_with_when_the_next_one_is_due(up: Program) -> None:
    plan = up.plan('- {id: broken, command: {run: "echo it broke >&2; exit 7"}, undo: {command: "true"}, '
                   "retries: 2, delay: 10ms}")
    out = up("apply", plan, "--yes", code=1).stdout
    body = out[out.index("run opened"):out.index("going back")]
    told = _lines(body, "it broke")
    assert [line.partition("broken")[2].strip() for line in told] == [
        "exit code 7: it broke; next try in 10ms, 2 left", "exit code 7: it broke; next try in 10ms, 1 left",
        "failed: exit code 7: it broke (attempt 3)"]
    followed = up("runs", "follow", code=1).stdout  # the journal has no notes, but the attempts
    told = _lines(followed[:followed.index("going back")], "it broke")
    assert [line.partition("broken")[2].strip() for line in told] == [
        "attempt 1 failed: exit code 7: it broke", "attempt 2 failed: exit code 7: it broke",
        "failed: exit code 7: it broke (attempt 3)"]


def test_a_host_that_cannot_be_reached_is_told_with_what_to_do(up: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    up.write("inventory.yaml", json.dumps({"all": {"hosts": {
        "here": {"ansible_connection": "local", "ultraplan_state_dir": str(up.folder / "host-0")},
        "away": {"ansible_host": "127.0.0.1", "ansible_port": port, "ansible_ssh_args": "-F /dev/null"}}}}))
    plan = up.plan(f'- {{id: file, file: {{path: "{up.root}/file", content: x}}}}',
                   head="max_unreachable_percentage: 50\n")
    hint = "refuses the connection (is sshd running, and is it that port? ansible_port sets another)"
    assert hint in up("plan", plan, code=1).stdout
    told = up("apply", plan, "--yes", code=1).stdout
    assert f"away         file             failed: root@127.0.0.1:{port} {hint}" in told
    assert f"ultraplan resume {up.last()}   (tries again what failed)" in told
    again = up("resume", code=1).stdout  # it does try, and the host is still away
    assert hint in again
