"""The format of the event store's data: migrate.py DATA tells it; migrate.py DATA FORMAT brings the data to it, either
way and exactly; FORMAT may be `released`, for what the release beside this script needs."""

import json
import runpy
import sys
from pathlib import Path

events = Path(sys.argv[1]) / "events.jsonl"
found = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
if len(sys.argv) == 2:
    print(found[0].get("format", 1) if found else 1)
    sys.exit()

release = Path(__file__).parent.parent / "release.py"
wanted = runpy.run_path(str(release))["EVENT_FORMAT"] if sys.argv[2] == "released" else int(sys.argv[2])
lines = []
for event in found:
    event.pop("format", None)
    lines.append(json.dumps(event if wanted == 1 else {**event, "format": wanted}, ensure_ascii=False))
new = events.with_name(".events.new")
new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
new.chmod(events.stat().st_mode & 0o7777)
new.replace(events)
print(f"{len(lines)} events in format {wanted}")
