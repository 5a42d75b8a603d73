"""Runs that stop for a person: no way back, in doubt, approvals, locks, Ctrl-C."""

from __future__ import annotations

import os
import pty
import signal
import time
from collections.abc import Callable

import pytest

from tests.acceptance.world import COUNTER, GO_ON, World, differences, finish, kill

pytestmark = pytest.mark.lab


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def test_after_the_point_of_no_return_a_failure_pauses_and_resume_goes_forward(world: Callable[..., World]) -> None:
    here = world(2)
    plan = here.plan(f"""
- {{id: before, file: {{path: /srv/before, content: "1"}}}}
- {{id: burn, command: "echo burn >>{COUNTER}", irreversible: the old data is gone}}
- id: after
  command: "echo after >>{COUNTER}; test ! -e /srv/broken"
  undo: {{command: "echo unafter >>{COUNTER}"}}
- {{id: last, file: {{path: /srv/last, content: "1"}}}}
""")
    here.lab.sh(here.hosts[1], "touch /srv/broken")

    shown = here.on("plan", plan).expect(0).out
    assert "no way back from here: the old data is gone" in shown
    paused = here.apply(plan).expect(5)

    assert "paused" in paused.out and "there is no way back" in paused.out
    assert [here.counts(host) for host in here.hosts] == [{"burn": 1, "after": 1}] * 2
    assert here.text(here.hosts[0], "/srv/before") == "1"
    here.run("resume").expect(5)  # still broken: the failed step alone was tried again
    assert [here.counts(host) for host in here.hosts] == [{"burn": 1, "after": 1}, {"burn": 1, "after": 2}]
    here.sh("rm -f /srv/broken")
    here.run("resume").expect(0)
    assert [here.counts(host) for host in here.hosts] == [{"burn": 1, "after": 1}, {"burn": 1, "after": 3}]
    assert [here.text(host, "/srv/last") for host in here.hosts] == ["1", "1"]
    assert here.run("resume").expect(2).err.startswith("this run succeeded")


@pytest.mark.parametrize(("answer", "verb", "code", "lines"), [
    ("done", "resume", 0, ["begin"]),
    ("not-done", "resume", 0, ["begin", "begin", "end"]),
    ("done", "rollback", 0, ["begin", "undone"]),
    ("not-done", "rollback", 0, ["begin"]),
])
def test_an_effect_that_died_unseen_is_in_doubt_until_a_person_says(
        world: Callable[..., World], answer: str, verb: str, code: int, lines: list[str]) -> None:
    here = world(1)
    host, = here.hosts
    here.plan(f"""
- {{id: first, file: {{path: /srv/first, content: "1"}}}}
- id: odd
  command: "echo begin >>{COUNTER}; sleep $(cat /srv/pause); echo end >>{COUNTER}"
  undo: {{command: "echo undone >>{COUNTER}"}}
- {{id: last, file: {{path: /srv/last, content: "1"}}}}
""")
    here.sh("echo 4711 >/srv/pause")
    before = here.trees()
    process = here.start_run("plan.yaml")
    until(lambda: here.lab.sh(host, "pgrep -f '^sleep 4711'", check=False).stdout != "")
    kill(process)
    here.sh("pkill -KILL -s $(pgrep -f '^sleep 4711' | xargs ps -o sid= -p); true")
    here.sh("echo 0 >/srv/pause")

    paused = here.run("resume").expect(5)
    assert f"odd on {host}" in paused.out and "ultraplan resolve" in paused.out
    assert here.counts(host) == {"begin": 1}
    assert "in doubt: " in here.run("resolve", "last", "nothing@h1", "--as", "done").expect(2).err
    here.run("resolve", "last", f"odd@{host}", "--as", answer).expect(0)
    done = here.run(*GO_ON[verb]).expect(code)

    assert here.text(host, COUNTER).split() == lines, done.said
    here.sh("echo 4711 >/srv/pause")
    if verb == "rollback":
        assert differences(before, here.trees()) == []


def test_a_person_answers_an_approval_on_a_terminal(world: Callable[..., World]) -> None:
    here = world(1)
    host, = here.hosts
    here.plan("""
- {id: first, file: {path: /srv/first, content: "1"}}
- {id: sure, approve: {message: "Really restore?", deadline: 8s}}
- {id: last, file: {path: /srv/last, content: "1"}}
""")
    before = here.trees()

    code, said = _on_terminal(here, {"Only 'yes' goes on": "yes", "Really restore?": "no"})
    assert code == 1 and "rejected" in said, said
    assert differences(before, here.trees()) == []
    code, said = _on_terminal(here, {"Only 'yes' goes on": "yes", "Really restore?": "yes"})
    assert code == 0, said
    assert here.text(host, "/srv/last") == "1"
    code, said = _on_terminal(here, {"Only 'yes' goes on": "yes"}, "rollback")
    assert code == 0, said
    code, said = _on_terminal(here, {"Only 'yes' goes on": "perhaps"})
    assert code == 1 and "nothing was touched" in said, said
    assert differences(before, here.trees()) == []
    assert "nobody" in here.apply("plan.yaml").expect(1).out


def _on_terminal(here: World, answers: dict[str, str], verb: str = "apply") -> tuple[int, str]:
    """Run the program on a terminal of its own, answering each question once; its exit code and what it showed."""
    ours, theirs = pty.openpty()
    argv = [verb, "plan.yaml", "-i", "inventory.json"] if verb == "apply" else [verb]
    process = here.start(*argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said, left, end = "", dict(answers), time.monotonic() + 60
    os.set_blocking(ours, False)
    while time.monotonic() < end:
        try:
            chunk = os.read(ours, 65536)
        except BlockingIOError:
            time.sleep(0.02)
            continue
        except OSError:
            break
        said += chunk.decode("utf-8", "replace")
        for question in [one for one in left if one in said]:
            time.sleep(0.2)
            os.write(ours, f"{left.pop(question)}\n".encode())
    else:
        process.kill()
    os.close(ours)
    return process.wait(), said


def test_two_runs_cannot_have_the_same_host_at_once(world: Callable[..., World]) -> None:
    here = world(3)
    slow = here.plan("[{id: slow, command: 'until test -e /srv/go; do sleep 0.1; done', reads_only: true}, "
                     "{id: one, file: {path: /srv/one, content: '1'}}]", "slow.yaml", hosts=here.hosts[:2])
    other = here.plan("[{id: two, file: {path: /srv/two, content: '1'}}]", "other.yaml")
    first = here.start_run(slow)

    refused = here.apply(other).expect(6)
    assert "wait for it" in refused.err and first.pid
    here.apply(other, "--limit", here.hosts[2]).expect(0)
    assert [here.text(host, "/srv/two") for host in here.hosts] == ["", "", "1"]
    here.sh("touch /srv/go")
    finish(first).expect(0)
    here.apply(other).expect(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_in_order_and_can_go_on(world: Callable[..., World], number: int) -> None:
    here = world(2)
    plan = here.plan(f"""
- {{id: one, file: {{path: /srv/one, content: "1"}}}}
- id: slow
  command: "echo slow >>{COUNTER}; sleep 1.5; echo end >>{COUNTER}"
  undo: {{command: "echo unslow >>{COUNTER}"}}
- {{id: last, file: {{path: /srv/last, content: "1"}}}}
""")
    process = here.start_run(plan)
    until(lambda: all(here.counts(host) == {"slow": 1} for host in here.hosts))
    process.send_signal(number)

    stopped = finish(process).expect(130)

    assert "interrupted" in stopped.out
    assert [here.counts(host) for host in here.hosts] == [{"slow": 1, "end": 1}] * 2
    assert [here.text(host, "/srv/last") for host in here.hosts] == ["", ""]
    here.run("resume").expect(0)
    assert [here.counts(host) for host in here.hosts] == [{"slow": 1, "end": 1}] * 2
    assert [here.text(host, "/srv/last") for host in here.hosts] == ["1", "1"]
