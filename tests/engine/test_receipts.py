"""What hosts keep of an effect, and how it is read: the real functions in real shells."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ultraplan.engine.receipts import Receipt, read_receipt
from ultraplan.shell import Reply, library, quote

SHELLS = (["dash"], ["busybox", "sh"])


class Place:
    """A state directory on this machine, with the receipt functions in a shell."""

    def __init__(self, folder: Path, shell: list[str]) -> None:
        self.folder, self.shell = folder, shell
        assert self.run("up_open", "run", "5", "key", first=str(folder)).returncode == 0
        self.name = str(folder / "runs" / "run" / "op.1")

    def run(self, function: str, *words: str, first: str | None = None) -> subprocess.CompletedProcess[bytes]:
        call = " ".join(map(quote, (function, first if first is not None else self.name, *words)))
        text = f"{library()}\nUP={quote(str(self.folder))} UP_HOST=key\n{call}"
        return subprocess.run([*self.shell, "-c", text], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=30)

    def receipt(self) -> Receipt:
        done = self.run("up_receipt")
        return read_receipt(Reply(done.returncode, done.stdout, done.stderr))


@pytest.fixture(params=SHELLS, ids=" ".join)
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return Place(tmp_path, request.param)


def test_what_was_never_begun_has_no_receipt(place: Place) -> None:
    assert place.receipt().state == "absent"


@pytest.mark.parametrize("verb", ["up_effect", "up_foreign"])
@pytest.mark.parametrize("code", [0, 1, 97, 98, 125])
def test_an_effect_leaves_its_exit_code_and_what_it_printed(place: Place, verb: str, code: int) -> None:
    assert place.run(verb, "5", f"echo out; echo err >&2; exit {code}").returncode == code
    receipt = place.receipt()
    assert (receipt.state, receipt.exit) == ("finished", code)
    assert receipt.reply is not None
    assert (receipt.reply.stdout, receipt.reply.stderr) == (b"out\n", b"err\n")


def test_an_effect_runs_once(place: Place) -> None:
    counter = place.folder / "counter"
    codes = [place.run("up_effect", "5", f"echo x >>{quote(str(counter))}").returncode for _ in range(3)]
    assert codes == [0, 97, 97]
    assert counter.read_text() == "x\n"


def test_a_lower_epoch_may_begin_nothing(place: Place) -> None:
    assert place.run("up_effect", "4", "echo x").returncode == 98
    assert place.run("up_claim", "4", "never").returncode == 98
    assert place.receipt().state == "absent"


def test_what_is_forbidden_never_begins_and_says_so_at_once(place: Place) -> None:
    assert place.run("up_claim", "5", "never").returncode == 0
    assert place.receipt() == Receipt("never")
    assert place.run("up_effect", "5", "echo x").returncode == 97
    assert place.run("up_end").returncode == 0
    assert place.receipt() == Receipt("never")


def test_what_began_cannot_be_forbidden(place: Place) -> None:
    assert place.run("up_effect", "5", "exit 125").returncode == 125
    assert place.run("up_claim", "5", "never").returncode == 97
    assert (place.receipt().state, place.receipt().exit) == ("finished", 125)
