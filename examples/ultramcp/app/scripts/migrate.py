"""Brings the event store's data to a format, either way and exactly: migrate.py DATA (FORMAT | released)."""

import json
import runpy
import sys
from pathlib import Path

events = Path(sys.argv[1]) / "events.jsonl"
release = Path(__file__).parent.parent / "release.py"
wanted = runpy.run_path(str(release))["EVENT_FORMAT"] if sys.argv[2] == "released" else int(sys.argv[2])

lines = []
for line in events.read_text(encoding="utf-8").splitlines():
    event = {key: value for key, value in json.loads(line).items() if key != "format"}
    lines.append(json.dumps(event if wanted == 1 else {**event, "format": wanted}, ensure_ascii=False))
new = events.with_name(".events.new")
new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
new.chmod(events.stat().st_mode & 0o7777)
new.replace(events)
print(f"{len(lines)} events in format {wanted}")
