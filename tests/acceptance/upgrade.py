"""The twelve-step upgrade that most acceptance tests run, and the hosts as they are before it.

Its ninth step fails on hosts that have the file `BROKEN`, after it has changed something.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.acceptance.world import COUNTER, World

BROKEN = "/srv/broken"

BEFORE = f"""
umask 022
mkdir -p /var/lib /srv/app/releases/1.0/bin /srv/app/cache/deep/er /srv/app/run /etc/app
printf 'version 1.0\\n' >/srv/app/releases/1.0/VERSION
printf '#!/bin/sh\\necho 1.0\\n' >/srv/app/releases/1.0/bin/app
chmod 4755 /srv/app/releases/1.0/bin/app
ln -s releases/1.0 /srv/app/current
printf 'listen = 80\\n' >/etc/app/app.conf
chmod 0604 /etc/app/app.conf
chown 4001:4002 /etc/app/app.conf
printf 'nofile 10\\n# the end, without a newline' >/etc/app/limits
chmod 0440 /etc/app/limits
printf '127.0.0.1 localhost\\n' >/etc/app/peers
for name in 'a b' '-rf' '$(touch PWNED)' 'new
line' 'ünïcode' '*' "quo'te"; do printf '%s' "$name" >"/srv/app/cache/$name"; done
printf 'one file, two names' >/srv/app/cache/deep/one
ln /srv/app/cache/deep/one /srv/app/cache/deep/er/two
ln -s ../nowhere /srv/app/cache/dangling
mkfifo /srv/app/cache/pipe
chmod 1777 /srv/app/cache/deep
chmod 0500 /srv/app/cache/deep/er
chown -h 4001:4001 /srv/app/cache/dangling '/srv/app/cache/a b'
: >{COUNTER}
"""

STEPS = f"""
- id: release
  directory: {{path: /srv/app/releases/2.0, mode: "0750", owner: op, group: op}}
- id: files
  copy: {{source: release, path: /srv/app/releases/2.0/app, owner: op}}
- id: config
  file: {{path: /etc/app/app.conf, template: app.conf.j2, mode: "0640"}}
- id: limits
  lineinfile: {{path: /etc/app/limits, regexp: "^nofile ", line: "nofile 65536"}}
- id: peers
  blockinfile: {{path: /etc/app/peers, block: "{{% for h in groups.all %}}{{{{ h }}}}\\n{{% endfor %}}"}}
- id: migrate
  command: {{run: "echo migrate >>{COUNTER}; cp /srv/app/releases/1.0/VERSION /srv/app/schema; sleep 0.1"}}
  undo:
    command: {{run: "echo unmigrate >>{COUNTER}; rm -f /srv/app/schema; sleep 0.1"}}
- id: cache
  absent: {{path: /srv/app/cache, recursive: true}}
- id: worker
  service: {{name: worker, state: started, command: [sleep, "86400"], pidfile: /srv/app/run/worker.pid,
             log: /var/log/worker.log}}
- id: check
  command: {{run: "echo check >>{COUNTER}; echo half >/srv/app/half; sleep 0.1; test ! -e {BROKEN}"}}
  undo:
    command: {{run: "echo uncheck >>{COUNTER}; rm -f /srv/app/half"}}
- id: current
  link: {{path: /srv/app/current, target: releases/2.0}}
- id: announce
  file: {{path: /etc/app/release, content: "2.0 on {{{{ host.name }}}}\\n", owner: op}}
- id: count
  command: {{run: "echo count >>{COUNTER}; sleep 0.1"}}
  undo:
    command: {{run: "echo uncount >>{COUNTER}"}}
"""

EFFECTS = {"migrate": "unmigrate", "check": "uncheck", "count": "uncount"}
"""What the commands write into the counter, forward and undone."""


def prepare(world: World) -> Path:
    """The hosts as they are before, and the plan."""
    world.sh(BEFORE)
    world.write("app.conf.j2", "listen = 8080\nname = {{ host.name }}\n")
    world.write("release/bin/app", "#!/bin/sh\necho 2.0\n").chmod(0o755)
    world.write("release/data/odd name é", b"\x00\xff" * 700)
    world.write("release/VERSION", "version 2.0\n")
    (world.folder / "release/bin/link").symlink_to("app")
    return world.plan(STEPS)


def steps() -> list[dict[str, Any]]:
    """The twelve steps as values."""
    listed: list[dict[str, Any]] = yaml.safe_load(STEPS)
    return listed
