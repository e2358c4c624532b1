# What the shell agents have in common; each of them has its own sample().

export LC_ALL=C # a comma for the decimal point would be no number to Redis' reader
ask_s=5         # a system that has not answered by then is down
interval=${INTERVAL_S:-2}
set_id=${STEELYARD_SET:-1}

bad() { # a variable, and what was expected
	echo "$0: $1: expected $2; README.md beside this file says what it is" >&2
	exit 2
}

case ${STEELYARD_URI:-} in
*[[:space:]\"\'\\]*) bad STEELYARD_URI "a SIP URI without blanks and quotes" ;; # redis-cli would read them as its own
sip:?*) ;;
*) bad STEELYARD_URI "a SIP URI such as sip:192.0.2.10:5060" ;;
esac
case ${STEELYARD_REDIS_URL:-} in
redis://?* | rediss://?* | unix:///?*) ;;
*) bad STEELYARD_REDIS_URL "a URL such as redis://192.0.2.1:6379" ;;
esac
case $set_id in *[!0-9]* | 0*) bad STEELYARD_SET "a whole number from 1" ;; esac
case $interval in *[!0-9.]* | *.*.* | .) bad INTERVAL_S "seconds above 0" ;; esac
case $interval in *[1-9]*) ;; *) bad INTERVAL_S "seconds above 0" ;; esac
key="steelyard:{$set_id}:report:$STEELYARD_URI"

ask() { # a command's answer; empty when it hangs or fails
	timeout "$ask_s" "$@" 2>/dev/null
}

clock() { # prints: monotonic seconds, ticks in which the machine's processors worked, all of their ticks
	awk 'FNR == 1 && FILENAME ~ /uptime$/ { at = $1 }
		/^cpu / { all = $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9; busy = all - $5 - $6 } # idle and waiting for disks
		END { print at, busy, all }' "${PROC:-/proc}/uptime" "${PROC:-/proc}/stat"
}

push() { # a hash in place of the last one, which ends with this host
	case $STEELYARD_REDIS_URL in
	unix://*) set -- -s "${STEELYARD_REDIS_URL#unix://}" "$*" ;;
	*) set -- -u "$STEELYARD_REDIS_URL" "$*" ;;
	esac
	answer=$(printf '%s\n' MULTI "DEL $key" "HSET $key $3 time $(date +%s)" "EXPIRE $key 60" EXEC |
		redis-cli --no-auth-warning "$1" "$2" 2>&1)
	[ "$(echo "$answer" | tail -n 1)" = 1 ] && return # what EXPIRE answers within EXEC
	echo "$0: Redis takes no report: $(echo "$answer" | grep -v -e '^OK$' -e '^QUEUED$' -e '^[0-9]*$' | head -n 1)" >&2
	return 1
}

fields() { # the load between two samples; rates only where the counter has gone on
	printf '%s\n%s\n' "$1" "$2" | awk '
		NR == 1 { at = $1; busy = $2; all = $3; before = NF > 3 ? $4 : "-" }
		NR == 2 {
			if ($4 ~ /^[0-9]/ && before ~ /^[0-9]/ && $4 + 0 >= before + 0 && $1 > at)
				printf "rps_fractional %.3f ", ($4 - before) / ($1 - at)
			if ($6 > 0) printf "application_utilization %.4f ", $5 / $6
			if ($3 > all) printf "cpu_utilization %.4f ", ($2 - busy) / ($3 - all)
			printf "state %s down 0", $7
		}'
}

every_interval() { # the command that is asked, and --once for a single report
	case ${2:-} in '' | --once) ;; *) bad "$2" "--once or nothing" ;; esac
	before=$(sample)
	before="$(clock) $before"
	while :; do
		sleep "$interval"
		now=$(sample)
		clock=$(clock)
		if [ -n "$now" ]; then
			push "$(fields "$before" "$clock $now")"
		else
			push "down $1-does-not-answer"
		fi
		taken=$?
		[ "${2:-}" = --once ] && exit "$taken"
		before="$clock $now"
	done
}
