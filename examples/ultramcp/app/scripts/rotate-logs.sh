#!/bin/sh
# Keeps one old log: rotate-logs.sh LOG
[ ! -s "$1" ] || cp -p -- "$1" "$1.1" && : >"$1"
