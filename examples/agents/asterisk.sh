#!/bin/sh
# Tells an Asterisk's load to Steelyard: asks `asterisk -rx` every INTERVAL_S seconds and pushes it into Redis.
# Changes nothing in Asterisk. Its variables and what it tells: README.md beside this file.
set -u
. "$(dirname "$0")/push.sh"

sample() { # prints: calls since start, calls now, calls allowed (0: no limit), part of the CPU in use
	cpu=$(awk -v n="$(nproc)" '{ cpu = $1 / n; print cpu < 1 ? cpu : 1 }' "${LOADAVG:-/proc/loadavg}")
	{
		asterisk -rx 'core show channels count' 2>/dev/null
		asterisk -rx 'core show settings' 2>/dev/null
	} | awk -v cpu="$cpu" '
		/calls? processed/ { total = $1 }
		/active calls?/    { now = $1 }
		/Maximum calls:/   { max = $3 + 0 }
		END { if (total != "") print total, now, max + 0, cpu }'
}

state() { # `core stop gracefully` and `core restart gracefully` take no new calls
	asterisk -rx 'core show settings' 2>/dev/null | grep -q 'shutting down' && echo drain || echo ready
}

every_interval asterisk "$@"
