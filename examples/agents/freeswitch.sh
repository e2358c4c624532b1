#!/bin/sh
# Tells a FreeSWITCH's load to Steelyard: asks `fs_cli -x status` every INTERVAL_S seconds and pushes it into Redis.
# Changes nothing in FreeSWITCH. Its variables and what it tells: README.md beside this file.
set -u
. "$(dirname "$0")/push.sh"

sample() { # prints: sessions since startup, sessions now, sessions allowed, part of the CPU in use
	fs_cli -x status 2>/dev/null | awk '
		/session\(s\) since startup/ { total = $1 }
		/session\(s\) - peak/        { now = $1 }
		/session\(s\) max/           { max = $1 }
		/min idle cpu/               { split($NF, idle, "/"); cpu = 1 - idle[2] / 100 }
		END { if (max > 0) print total, now, max, cpu }'
}

state() {
	[ "$(fs_cli -x 'fsctl pause_check inbound' 2>/dev/null)" = true ] && echo drain || echo ready
}

every_interval fs_cli "$@"
