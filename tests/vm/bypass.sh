#!/bin/bash
# The bypass suite: every known way around a policy, tried on a real kernel as root.
#
#   bypass.sh DIR SETTING...    settings: ext4, overlay, runc, runc-plain (bypass-place.sh)
#
# DIR holds bypass and preload.so (tests/bypass), attacks.tsv, threat-model.md, minirun, ward and ward-controls, the same
# with the kernel programs of the control build. For each attack and setting: what is denied has to be denied, with an event that
# names the rule; what is allowed has to work; and with its closer open the attack has to get through, or its test would
# show nothing. What cannot be tried in a setting is declared in the table, and is asserted not to work there; what stays
# open has to be what the threat model says. Prints a table; the exit code says whether all held.
set -u
cd "$1" || exit 2
shift
SETTINGS=$*
BYPASS=$PWD/bypass PRELOAD=$PWD/preload.so
export PINS=/sys/fs/bpf/palisade-v6
# shellcheck source=tests/vm/bypass-place.sh
. ./bypass-place.sh
began=$SECONDS failed=0
declare -A where object by closers lacks allowed denied told control
names=()
while read -r name ways which what who mask lacking; do
	case $name in '' | \#*) continue ;; esac
	names+=("$name")
	where[$name]=$which object[$name]=$what by[$name]=$who closers[$name]=$mask lacks[$name]=$lacking
done <attacks.tsv

# --- the ward: it loads the programs, puts workloads under policies and reads events
ward_says() { # sets line
	read -r -t 600 line <&"${WARD[0]}" || { echo "the ward has ended"; exit 1; }
}
start_ward() { # PROGRAM
	local started=$SECONDS
	coproc WARD { exec "$1" 2>"$PLACES/ward.err"; }
	ward_pid=$WARD_PID
	ward_says
	[ "$line" = ready ] || { echo "$line"; cat "$PLACES/ward.err"; exit 1; }
	echo "$1: ready after $((SECONDS - started)) s"
	MAP_ID=$(bpftool map show name pal_labels | sed -n '1s/:.*//p')
	PROGRAM_ID=$(bpftool prog show name pal_file_open | sed -n '1s/:.*//p')
	LINK_ID=$(bpftool link show | sed -n "s/^\([0-9]*\): .* prog $PROGRAM_ID .*/\1/p" | head -1)
	MAP_PIN=$PINS/maps/pal_labels SPARE_PIN=$PINS/spare
}
order_ward() { # WORD...
	echo "$*" >&"${WARD[1]}"
}
end_ward() {
	local into=${WARD[1]}
	rm -f "$SPARE_PIN"
	exec {into}>&-
	wait "$ward_pid" || { echo "the ward failed"; cat "$PLACES/ward.err"; exit 1; }
}
# Whether the attack that was just tried was reported as denied by whom the table says.
reported() { # NAME
	local found=1 workload verdict rule rest
	order_ward events
	while ward_says && [ "$line" != end ]; do
		read -r workload verdict rule rest <<<"$line"
		rule=${rule#*:}
		case "$verdict,$rule" in "Block,${by[$1]}"*) found=0 ;; esac
	done
	return $found
}

# --- trying
populate() { # SETTING: its workloads run, and are judged
	local workload variable
	for workload in $WORKLOADS; do
		start_serving "$1" "$workload"
		for variable in OUTSIDE ELSEWHERE DISK PINS ROOT MAP_ID PROGRAM_ID LINK_ID MAP_PIN SPARE_PIN; do
			[ -z "${!variable}" ] || echo "set $variable ${!variable}" >&"${order_to[$1,$workload]}"
		done
		[ "$workload" = outside ] && continue
		order_ward protect "$1-$workload" "${pid_in[$1,$workload]}" "$PLACES/$1/policies/$workload.yaml"
		ward_says
	done
}
depopulate() { # SETTING
	local workload
	for workload in $WORKLOADS; do stop_serving "$1" "$workload"; done
}
try() { # SETTING WORKLOAD NAME OBJECT: sets answer
	[ "$3" != unpin ] || [ -e "$SPARE_PIN" ] || bpftool map pin id "$MAP_ID" "$SPARE_PIN"
	echo "$3 $BASE/$4" >&"${order_to[$1,$2]}"
	answer_from "$1,$2"
}
# The same under a run of its own, which reads the ring while the ward does not: sets answer.
try_run() { # SETTING WORKLOAD NAME OBJECT
	./minirun --enforcer bpf --policy "$PLACES/$1/policies/$2.yaml" -- "$BASE/bin/bypass" "$BASE" "$3" "$BASE/$4" \
		2>"$PLACES/run.err" </dev/null
	answer=$?
	order_ward leave
	ward_says
}
reported_run() { # NAME
	grep "^event Block" "$PLACES/run.err" | grep -qF "${by[$1]}"
}
# Where the allowed variant is tried: the workload, and the object's like that nothing denies.
allowed_in() { # NAME: sets workload, what
	what=${object[$1]}
	workload=lax
	case ${where[$1]#run-},${by[$1]} in
	lax,*) workload=outside ;;
	works,*) workload=strict ;;
	strict,file.match* | strict,tree-* | strict,process.match*)
		case $what in *deny/* | layers-deny) workload=strict what=${what/deny/free} ;; esac
		;;
	esac
}
try_all() { # SETTING
	local name workload what
	at_setting "$1"
	for name in "${names[@]}"; do
		case ${where[$name]} in
		works) ;;
		run-*)
			is_container "$1" && continue
			if [ "${closers[$name]}" = resolve ]; then
				try "$1" "${where[$name]#run-}" "$name" "${object[$name]}"
				control[$1,$name]=$answer
				reported "$name"
			fi
			try_run "$1" "${where[$name]#run-}" "$name" "${object[$name]}"
			denied[$1,$name]=$answer
			reported_run "$name" && told[$1,$name]=yes
			;;
		*)
			workload=${where[$name]}
			try "$1" "${workload#open-}" "$name" "${object[$name]}"
			denied[$1,$name]=$answer
			reported "$name" && told[$1,$name]=yes
			;;
		esac
		case ${where[$name]} in
		open-*) ;;
		run-strict)
			allowed_in "$name"
			try_run "$1" "$workload" "$name" "$what"
			allowed[$1,$name]=$answer
			;;
		*)
			allowed_in "$name"
			try "$1" "$workload" "$name" "$what"
			allowed[$1,$name]=$answer
			;;
		esac
	done
	order_ward events
	while ward_says && [ "$line" != end ]; do :; done
}
open_closers() { # MASK: numbers, with commas between them
	local bit value=0 i bytes=""
	for bit in ${1//,/ }; do value=$((value | 1 << bit)); done
	for i in 0 8 16 24 32 40 48 56; do bytes="$bytes $((value >> i & 255))"; done
	# shellcheck disable=SC2086 # the bytes are words
	bpftool map update name pal_test_off key 0 0 0 0 value $bytes
}

rm -rf "$PLACES"
mkdir -p "$PLACES"
sleep 1000000 &
OUTSIDE=$!
helpers=("$OUTSIDE")
trap 'kill "${helpers[@]}" 2>/dev/null' EXIT
DISK=$(findmnt -no SOURCE / | head -1)
for setting in $SETTINGS; do make_place "$setting"; done
# Namespaces that no workload made, in which every place is seen.
unshare -m -u -i -n -C sleep 1000000 &
ELSEWHERE=$!
helpers+=("$ELSEWHERE")
until [ "$(readlink /proc/$ELSEWHERE/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ]; do sleep 0.05; done
exec 8<"/proc/$ELSEWHERE/ns/mnt"
echo "places made after $((SECONDS - began)) s"

start_ward ./ward
for setting in $SETTINGS; do
	since=$SECONDS
	populate "$setting"
	try_all "$setting"
	depopulate "$setting"
	order_ward release
	ward_says
	echo "$setting: tried in $((SECONDS - since)) s"
done
end_ward

# --- the same with each closer open; who has the default capabilities alone is not tried again
CONTROLLED=${SETTINGS/runc-plain/}
start_ward ./ward-controls
since=$SECONDS
for setting in $CONTROLLED; do populate "$setting"; done
for mask in $(printf '%s\n' "${closers[@]}" | grep '^[0-9]' | sort -u); do
	open_closers "$mask"
	for setting in $CONTROLLED; do
		at_setting "$setting"
		for name in "${names[@]}"; do
			[ "${closers[$name]}" = "$mask" ] || continue
			try "$setting" "${where[$name]#run-}" "$name" "${object[$name]}"
			control[$setting,$name]=$answer
		done
	done
done
open_closers 63
for setting in $CONTROLLED; do depopulate "$setting"; done
echo "controls: tried in $((SECONDS - since)) s"
end_ward

# --- the table
word() { # CODE: what an exit code of an attack says
	case ${1:-none} in 0) echo reached ;; 1) echo EPERM ;; 13) echo EACCES ;; 38) echo "not there" ;; none) echo "-" ;; 255) echo BROKEN ;; *) echo "errno $1" ;; esac
}
# Whether it cannot be tried there, as the table declares.
is_lacking() { # SETTING NAME
	local word
	for word in ${lacks[$2]//,/ }; do
		case $1,$word in
		*,-) ;;
		ext4,*) ;;
		*,overlay | runc*,container | runc-plain,*) return 0 ;;
		esac
	done
	return 1
}
is_denied() { [ "$1" = 1 ] || [ "$1" = 13 ]; }
declare -A found_open
for setting in $SETTINGS; do
	printf '\n%s\n%-20s %-10s %-10s %-22s %-10s\n' "=== $setting" attempt allowed denied event control
	bad_here=0 denied_here=0 leaks_here=0 lacking_here=0 open_here=0
	for name in "${names[@]}"; do
		bad="" event="-"
		refused=${denied[$setting,$name]:-none} works=${allowed[$setting,$name]:-none} leaks=${control[$setting,$name]:-none}
		[ -z "${told[$setting,$name]:-}" ] || event=${by[$name]}
		if is_lacking "$setting" "$name"; then
			lacking_here=$((lacking_here + 1)) event="cannot: ${lacks[$name]}"
			case $works,$refused in 0,* | *,0) bad="; gets through where it is said not to work" ;; esac
			case $works in none | "") ;; 38) ;; *) case ${lacks[$name]},$setting in overlay*,overlay | overlay*,runc) bad="; is said to be no call of this file system" ;; esac ;; esac
		else
			case ${where[$name]} in
			works) [ "$works" = 0 ] || bad="; has to work" ;;
			open-*)
				if [ "$refused" = 0 ]; then open_here=$((open_here + 1)) found_open[$name]=yes; else bad="; is said to be open and is not"; fi
				;;
			*)
				is_denied "$refused" && denied_here=$((denied_here + 1)) || bad="; is not denied"
				[ "$works" = 0 ] || bad="$bad; the allowed variant does not work"
				[ "$event" != "-" ] || bad="$bad; no event"
				case " $CONTROLLED " in
				*" $setting "*) [ "$leaks" = 0 ] && leaks_here=$((leaks_here + 1)) || bad="$bad; does not get through with its closer open: the test shows nothing" ;;
				esac
				;;
			esac
		fi
		[ -z "$bad" ] || bad_here=$((bad_here + 1))
		printf '%-20s %-10s %-10s %-22s %-10s %s\n' "$name" "$(word "$works")" "$(word "$refused")" "$event" "$(word "$leaks")" "${bad:+FAIL$bad}"
	done
	failed=$((failed + bad_here))
	summary="${summary:-}$setting: ${#names[@]} attacks, $denied_here denied with their event, $leaks_here get through with the closer open, $open_here open as said, $lacking_here cannot be tried, $bad_here bad"$'\n'
done

# --- what stays open is what the threat model says
said_open=$(sed -n '/^## What stays open/,/^## /s/^| `bypass`: \*\([a-z-]*\)\*.*/\1/p' threat-model.md | sort)
if [ "$said_open" != "$(printf '%s\n' "${!found_open[@]}" | sort)" ]; then
	echo "FAIL: open are: ${!found_open[*]}; the threat model says:" $said_open
	failed=$((failed + 1))
fi

printf '\n%s' "$summary"
echo "$((SECONDS - began)) s in all, $failed not as they should be"
[ $failed = 0 ]
