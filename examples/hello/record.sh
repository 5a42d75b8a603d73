#!/bin/sh
# Plays what the README shows: a saved plan, its apply, a failure, and the way back. Nothing is left of it.
cd "$(dirname "$0")" || exit
PATH=$(cd ../../.venv/bin 2>/dev/null && pwd):$PATH
base=$(mktemp -d) || exit
trap 'rm -rf -- "$base"' EXIT
cp -R . "$base/hello" && cd "$base/hello" || exit
mkdir group_vars && echo "ultraplan_state_dir: $base/on-hosts" >group_vars/all.yaml || exit
export ULTRAPLAN_STATE="$base/state" ULTRAPLAN_INPUT_BASE="$base/disks"

show() {
  printf '$ ultraplan %s\n' "$*"
  ultraplan "$@" </dev/null | sed "s|$base/disks|/srv|g"
}

ultraplan apply hello.yaml -i inventory.yaml -e release=1.0 --yes </dev/null >/dev/null || exit
show plan hello.yaml -i inventory.yaml -e release=2.0 -o friday.plan
show apply friday.plan
show plan hello.yaml -i inventory.yaml -e release=1.0
