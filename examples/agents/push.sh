# What the shell agents have in common; each of them has its own sample() and state().

for name in STEELYARD_URI STEELYARD_REDIS_URL; do
	eval "value=\${$name:-}"
	[ -n "$value" ] || { echo "$0: $name is not set; README.md beside this file says what it is" >&2; exit 2; }
done
interval=${INTERVAL_S:-2}
key="steelyard:{${STEELYARD_SET:-1}}:report:$STEELYARD_URI"

push() { # a hash in place of the last one, which ends with this host
	case $STEELYARD_REDIS_URL in
	unix://*) set -- -s "${STEELYARD_REDIS_URL#unix://}" "$*" ;;
	*) set -- -u "$STEELYARD_REDIS_URL" "$*" ;;
	esac
	printf '%s\n' MULTI "DEL $key" "HSET $key $3 time $(date +%s)" "EXPIRE $key 60" EXEC |
		redis-cli "$1" "$2" 2>&1 | grep -q '^OK' || echo "$0: Redis takes no report" >&2
}

fields() { # the load between two samples; the rate only where the counter has gone on
	printf '%s\n%s\n' "$1" "$2" | awk -v s="$interval" '
		NR == 1 { before = NF ? $1 : "" }
		NR == 2 {
			if (before != "" && $1 >= before) printf "rps_fractional %.3f ", ($1 - before) / s
			if ($3 > 0) printf "application_utilization %.4f ", $2 / $3
			printf "cpu_utilization %.4f", $4
		}'
}

every_interval() { # the command that is asked, and --once for a single report
	before=$(sample)
	while :; do
		sleep "$interval"
		now=$(sample)
		if [ -n "$now" ]; then
			push "$(fields "$before" "$now") state $(state) down 0"
		else
			push "down $1-does-not-answer"
		fi
		[ "${2:-}" = --once ] && exit 0
		before=$now
	done
}
