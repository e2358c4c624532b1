#!/bin/sh
# Tells a FreeSWITCH's load to Steelyard: asks `fs_cli -x status` every INTERVAL_S seconds and pushes it into Redis.
# Changes nothing in FreeSWITCH. Its variables and what it tells: README.md beside this file.
set -u
. "$(dirname "$0")/push.sh"

check() { # whether FreeSWITCH says that something is so
	[ "$(ask fs_cli -x "fsctl $1")" = true ]
}

sample() { # prints: sessions since startup, sessions now, sessions allowed, state
	counts=$(ask fs_cli -x status | awk '
		/session\(s\) since startup/ { total = $1 }
		/session\(s\) - peak/        { now = $1 }
		/session\(s\) max/           { max = $1 }
		END { if (total != "" && max > 0) print total, now + 0, max }')
	[ -n "$counts" ] || return
	# an elegant shutdown still takes new calls, and ends only once there are none
	if check 'pause_check inbound' || check shutdown_check; then echo "$counts drain"; else echo "$counts ready"; fi
}

every_interval fs_cli "$@"
