#!/bin/bash
# The bypass suite: every known way around a policy, tried on a real kernel as root.
#
#   bypass.sh BYPASS ATTACKS DIR MINIRUN [CONTROLS]
#
# BYPASS is the program of tests/bypass, ATTACKS its table, DIR a directory on the file system to try it on, MINIRUN the
# example of palisade-agent, CONTROLS the same with the kernel programs of the control build. For each line of the table:
# what is denied has to be denied, with an event that names the rule; what is allowed has to work; and with its closer
# open the attack has to get through, or its test would show nothing. Prints a table; the exit code says whether all held.
set -u
BYPASS=$1 ATTACKS=$2 BASE=$3 MINIRUN=$4 CONTROLS=${5:-}
export PINS=/sys/fs/bpf/palisade-v6
failed=0 absent=0
rm -rf "$BASE"
mkdir -p "$BASE"/{bin,work,given,trusted,sourced,policies,lists} "$BASE"/{deny,free,above-deny,above-free,run-deny,run-free}/dir \
	"$BASE"/mnt/{bind,from,to,overlay,disk,proc,new,clone,pivot}
declare -A workload object by closers denied allowed event control
names=()
while read -r name where what who which; do
	case $name in '' | \#*) continue ;; esac
	names+=("$name")
	workload[$name]=$where object[$name]=$what by[$name]=$who closers[$name]=$which
done <"$ATTACKS"

# --- the place
cp "$BYPASS" "$BASE/bin/bypass"
for name in "${names[@]}"; do ln "$BASE/bin/bypass" "$BASE/bin/$name"; done
for kind in deny free; do
	echo "secret" >"$BASE/$kind/dir/secret"
	echo "secret" >"$BASE/above-$kind/dir/secret"
	cp "$BYPASS" "$BASE/$kind/dir/program"
	cp "$BYPASS" "$BASE/run-$kind/dir/program"
	cp /bin/true "$BASE/run-$kind/dir/dynamic"
done
echo "harmless" >"$BASE/free/harmless"
echo "secret" >"$BASE/sourced/secret"
cp "$BYPASS" "$BASE/trusted/program"
mount -t tmpfs given "$BASE/given"
"$BYPASS" listen "$BASE/deny/dir/socket" "$BASE/free/dir/socket" &
helpers=$!
sleep 100000 &
OUTSIDE=$!
unshare -m sleep 100000 &
elsewhere=$!
helpers="$helpers $OUTSIDE $elsewhere"
sleep 0.5
exec 8<"/proc/$elsewhere/ns/mnt" 9<"$BASE/deny/dir/secret" 10<"$BASE/free/dir/secret"
DISK=$(findmnt -no SOURCE / | head -1)
export OUTSIDE DISK

# --- the policies
policy() { # NAME, the spec on stdin
	printf 'apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {name: %s}\nspec:\n  selector: {matchLabels: {any: thing}}\n' "$1"
	cat
}
policy strict >"$BASE/policies/strict.yaml" <<-POLICY
	  file:
	    matchDirectories:
	    - {dir: /, recursive: true, action: Allow}
	    - {dir: $BASE/deny/, recursive: true, action: Block}
	    matchPaths:
	    - {path: $BASE/sourced/secret, action: Block}
	    - {path: $BASE/sourced/secret, fromSource: [{path: $BASE/trusted/program}], action: Allow}
	    - {path: $BASE/above-deny/dir/secret, action: Block}
	  process:
	    matchDirectories:
	    - {dir: $BASE/run-deny/, recursive: true, action: Block}
	    matchPaths:
	    - {path: $BASE/run-deny/dir/program, action: Block}
POLICY
policy list >"$BASE/policies/list.yaml" <<-POLICY
	  process:
	    matchDirectories:
	    - {dir: $BASE/bin/, action: Allow}
POLICY
policy lax >"$BASE/policies/lax.yaml" <<-POLICY
	  network: {matchProtocols: [{protocol: icmp, action: Block}]}
POLICY

# --- running
free_of() { # OBJECT: its like that nothing denies
	case $1 in deny/* | above-deny/* | run-deny/*) echo "${1/deny/free}" ;; esac
}
# Where the allowed variant is tried: the workload and the object.
allowed_in() { # NAME
	case ${workload[$1]},${by[$1]} in
	strict,file.match* | strict,tree-* | strict,process.match*)
		[ "${object[$1]}" = sourced/secret ] && echo "lax ${object[$1]}" || echo "strict $(free_of "${object[$1]}")"
		;;
	strict,* | list,*) echo "lax ${object[$1]}" ;;
	lax,*) echo "outside ${object[$1]}" ;;
	*) echo "strict ${object[$1]}" ;;
	esac
}
in_workload() { # RUNNER WORKLOAD LIST OUT: runs a list of attacks
	local runner=$1 which=$2 list=$3 out=$4
	if [ "$which" = outside ]; then
		"$BASE/bin/bypass" "$BASE" "$list" >"$out" 2>"$out.events"
		return
	fi
	"$runner" --enforcer bpf --policy "$BASE/policies/$which.yaml" -- "$BASE/bin/bypass" "$BASE" "$list" >"$out" 2>"$out.events"
}
find_ids() {
	map_id() { bpftool map show name "$1" | sed -n '1s/:.*//p'; }
	MAP_ID=$(map_id pal_labels)
	PROGRAM_ID=$(bpftool prog show name pal_file_open | sed -n '1s/:.*//p')
	LINK_ID=$(bpftool link show | sed -n "s/^\([0-9]*\): .* prog $PROGRAM_ID .*/\1/p" | head -1)
	MAP_PIN=$PINS/maps/pal_labels SPARE_PIN=$PINS/spare
	export MAP_ID PROGRAM_ID LINK_ID MAP_PIN SPARE_PIN
}
holding() { # RUNNER: starts a run that keeps the programs loaded
	"$1" --enforcer bpf -- sleep 100000 2>"$BASE/holder" &
	holder=$!
	for _ in $(seq 1200); do
		grep -q "^started" "$BASE/holder" && break
		sleep 0.1
	done
	grep "^started backend=Some(Bpf)" "$BASE/holder" >/dev/null || { cat "$BASE/holder"; exit 1; }
	find_ids
}
spare() { [ -e "$SPARE_PIN" ] || bpftool map pin id "$MAP_ID" "$SPARE_PIN"; }

holding "$MINIRUN"
spare
for which in strict list lax outside; do
	: >"$BASE/lists/$which"
	for name in "${names[@]}"; do
		[ "${workload[$name]}" = "$which" ] && echo "$name ${object[$name]/#/$BASE/}" >>"$BASE/lists/$which"
		[ "${workload[$name]},$which" = open,strict ] && echo "$name ${object[$name]/#/$BASE/}" >>"$BASE/lists/$which"
	done
done
for name in "${names[@]}"; do
	read -r which what < <(allowed_in "$name")
	[ "${workload[$name]}" = open ] || echo "$name $BASE/$what" >>"$BASE/lists/$which.allowed"
done
for which in strict list lax outside; do
	for part in "$which" "$which.allowed"; do
		[ -s "$BASE/lists/$part" ] || continue
		[ "$which" = outside ] && spare
		in_workload "$MINIRUN" "$which" "$BASE/lists/$part" "$BASE/out-$part"
		while read -r name what code; do
			case $part in *.allowed) allowed[$name]=$code ;; *) denied[$name]=$code ;; esac
		done <"$BASE/out-$part"
	done
done
kill "$holder"
wait "$holder" 2>/dev/null
rm -f "$SPARE_PIN"

# --- the same with each closer open
if [ -n "$CONTROLS" ]; then
	holding "$CONTROLS"
	for mask in $(printf '%s\n' "${closers[@]}" | grep -v '^-$' | sort -u); do
		value=0
		for bit in ${mask//,/ }; do value=$((value | 1 << bit)); done
		bytes=$(for i in 0 8 16 24 32 40 48 56; do printf '%d ' $((value >> i & 255)); done)
		# shellcheck disable=SC2086 # the bytes are words
		bpftool map update name pal_test_off key 0 0 0 0 value $bytes
		for which in strict list lax; do
			: >"$BASE/lists/control"
			for name in "${names[@]}"; do
				[ "${closers[$name]},${workload[$name]}" = "$mask,$which" ] && echo "$name $BASE/${object[$name]}" >>"$BASE/lists/control"
			done
			[ -s "$BASE/lists/control" ] || continue
			spare
			in_workload "$CONTROLS" "$which" "$BASE/lists/control" "$BASE/out-control-$which-$mask"
			while read -r name what code; do control[$name]=$code; done <"$BASE/out-control-$which-$mask"
		done
	done
	bpftool map update name pal_test_off key 0 0 0 0 value 0 0 0 0 0 0 0 0
	kill "$holder"
	wait "$holder" 2>/dev/null
	rm -f "$SPARE_PIN"
fi

# --- the table
word() { # CODE: what an exit code of an attack says
	case ${1:-none} in 0) echo reached ;; 1) echo EPERM ;; 13) echo EACCES ;; 38) echo "not there" ;; none) echo "-" ;; 255) echo BROKEN ;; *) echo "errno $1" ;; esac
}
printf '%-20s %-10s %-10s %-22s %-10s\n' attempt allowed denied event control
for name in "${names[@]}"; do
	bad=""
	refused=${denied[$name]:-none} works=${allowed[$name]:-none} leaks=${control[$name]:-none}
	told="-"
	case ${workload[$name]} in
	works) [ "$works" = 0 ] || bad="has to work" ;;
	open) [ "$refused" = 0 ] || bad="is said to be open and is not" ;;
	*)
		if grep -h "^event Block" "$BASE/out-${workload[$name]}.events" | grep -F " $BASE/bin/$name ->" | grep -qF "${by[$name]}"; then
			told=${by[$name]}
		elif grep -h "^event Block" "$BASE/out-${workload[$name]}.events" | grep -F -- "-> $BASE/${object[$name]%/*}/" |
			grep -vF " $BASE/bin/" | grep -qF "${by[$name]}"; then
			# Whoever acted is not called like the attack: the loader, or what an exchanged exe_file says.
			told=${by[$name]}
		fi
		if [ "$works" = 38 ] || [ "$refused" = 38 ]; then absent=$((absent + 1)) told="not there"; else
			[ "$refused" = 1 ] || [ "$refused" = 13 ] || bad="is not denied"
			[ "$works" = 0 ] || bad="$bad; the allowed variant does not work"
			[ "$told" = "-" ] && bad="$bad; no event"
			[ -z "$CONTROLS" ] || [ "$leaks" = 0 ] || bad="$bad; does not get through with its closer open: the test shows nothing"
		fi
		;;
	esac
	[ -z "$bad" ] || failed=$((failed + 1))
	printf '%-20s %-10s %-10s %-22s %-10s %s\n' "$name" "$(word "$works")" "$(word "$refused")" "$told" "$(word "$leaks")" "${bad:+FAIL$bad}"
done
# shellcheck disable=SC2086 # several pids
kill $helpers
umount "$BASE/given"
exec 8<&- 9<&- 10<&-
echo "${#names[@]} attempts, $failed not as they should be, $absent that this kernel or file system lacks"
[ $failed = 0 ]
