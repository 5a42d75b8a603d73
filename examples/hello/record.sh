#!/bin/sh
# Plays what the README shows: plan, apply, a failure and the way back. Run it in the repository's root.
set -u
base=$(mktemp -d) || exit
trap 'rm -rf -- "$base"' EXIT
export ULTRAPLAN_STATE="$base/state" ULTRAPLAN_INPUT_BASE="$base/disks"
ultraplan=${ULTRAPLAN:-.venv/bin/ultraplan}

cd examples/hello || exit
case $ultraplan in /*) ;; */*) ultraplan=../../$ultraplan ;; esac

run() {
  printf '$ ultraplan %s\n' "$*"
  "$ultraplan" "$@" </dev/null | sed "s|$base/disks|/srv|g"
  echo
}

"$ultraplan" apply hello.yaml -i inventory.yaml -e release=1.0 --yes </dev/null >/dev/null || exit
run plan hello.yaml -i inventory.yaml -e release=2.0
run apply hello.yaml -i inventory.yaml -e release=2.0 --yes
run plan hello.yaml -i inventory.yaml -e release=1.0
