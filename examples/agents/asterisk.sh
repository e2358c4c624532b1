#!/bin/sh
# Tells an Asterisk's load to Steelyard: asks `asterisk -rx` every INTERVAL_S seconds and pushes it into Redis.
# Changes nothing in Asterisk. Its variables and what it tells: README.md beside this file.
set -u
. "$(dirname "$0")/push.sh"

sample() { # prints: calls since start, calls now, calls allowed (0: no limit), state
	# `core stop gracefully` refuses new calls, and this command too
	ask asterisk -rx 'core show channels count' | awk '
		/max active calls?/              { max = $3 }
		/active calls?/                  { now = $1 }
		/calls? processed/               { print $1, now + 0, max + 0, "ready" }
		/cannot be run during shutdown/  { print "-", 0, 0, "drain" }'
}

every_interval asterisk "$@"
