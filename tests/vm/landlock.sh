#!/bin/bash
# Landlock's denials as `palisade run` shows them, on a kernel that tells them (6.15 and later, booted with audit=1).
#
#   landlock.sh PALISADE
#
# As root. The policies are written here; nothing outside of a scratch directory is touched.
set -u
PALISADE=$1
failed=0
cd "$(mktemp -d)" || exit 1

check() { # TEXT COMMAND...
	local text=$1
	shift
	if "$@"; then echo "ok   $text"; else
		echo "FAIL $text"
		failed=1
	fi
}
# Live lines begin with the time; the summary's do not.
live() { grep -E '^[0-9:.]+ +Block' "${1:-events}"; }
shown() { live | grep -qE "$1"; }

cat >policy.yaml <<-'YAML'
	apiVersion: security.kubearmor.com/v1
	kind: KubeArmorPolicy
	metadata: {name: watched}
	spec:
	  selector: {matchLabels: {app: x}}
	  process:
	    matchPaths:
	    - {path: /usr/bin/perl, action: Allow}
	  file:
	    matchPaths:
	    - {path: /etc/shadow, action: Block}
	    matchDirectories:
	    - {dir: /, recursive: true, readOnly: true, action: Allow}
YAML
confined() { "$PALISADE" run --enforcer landlock --policy policy.yaml "$@" >stdout 2>events; }

grep -o 'audit=[0-9]' /proc/cmdline
confined -- /usr/bin/perl -e 'open(F, "<", "/etc/shadow"); open(F, ">", "/tmp/new"); system("/usr/bin/id"); open(F, "<", "/etc/passwd") or exit 3'
code=$?
cat events
check "what is allowed passes, and the exit code is the command's" test $code = 0
check "a read that a rule denies is shown with the rule" shown 'Block +read +.* /etc/shadow +default/watched file.matchPaths\[0\]'
check "an exec that no rule allows is shown with the posture" shown 'Block +exec +.* /usr/bin/id +DefaultPosture'
check "a creation is shown by its directory, with the rule that denies writing there" \
	shown 'Block +create +.* /tmp/ +default/watched file.matchDirectories\[0\]'
check "nothing was lost" bash -c '! grep -qi "lost" events'

confined --json -- /usr/bin/perl -e 'open(F, "<", "/etc/shadow")'
line=$(cat stdout events | grep '"Resource":"/etc/shadow"')
for part in '"Enforcer":"Landlock"' '"PolicyName":"watched"' '"Result":"Permission denied"' '"Action":"Block"'; do
	check "JSON says $part" grep -qF "$part" <<<"$line"
done

# What another domain is denied is not this run's.
confined -- /usr/bin/perl -e 'sleep 3; open(F, "<", "/etc/shadow")' &
cp policy.yaml other.yaml
sleep 1
"$PALISADE" run --enforcer landlock --policy other.yaml -- /usr/bin/perl -e 'open(F, "<", "/etc/shadow") for 1..5' >/dev/null 2>other
wait $!
check "a run beside it has its own denials" test "$(live other | grep -c .) $(live other | grep -oE 'x[0-9]+$')" = '2 x4'
check "and not those of the other" test "$(live | grep -c .) $(live | grep -cE 'x[0-9]+$')" = '1 0'

# Told or counted: more than a socket holds, by several processes.
flood() { # TEXT REST
	confined -- /usr/bin/perl -e 'for (1..4) { if (!fork) { open(F, "<", "/etc/shadow") for 1..2500; exit 0 } } 1 while wait != -1;'"$2"
	told=$(live | grep -oE '/etc/shadow.* x[0-9]+$' | grep -oE '[0-9]+$' | awk '{ n += $1 } END { print n + 0 }')
	single=$(live | grep '/etc/shadow' | grep -vcE ' x[0-9]+$')
	lost=$(grep -oE '[0-9]+ events lost' events | grep -oE '^[0-9]+' | tail -1)
	echo "10,000 denials, $1: $told told in counts, $single alone, ${lost:-0} counted as lost"
	missing=$((10000 - told - single - ${lost:-0}))
}
flood "then quiet" "sleep 3"
check "10,000 denials are told or counted" test $missing = 0
# The sum comes with the domain's end; a kernel that is still busy with its backlog loses that record as well.
flood "to the last moment" ""
check "10,000 denials to the end: told or counted, or it is said that the kernel did not tell how many" \
	bash -c "[ $missing = 0 ] || { [ $missing -gt 0 ] && grep -q 'did not tell how many denials there were' events; }"
exit $failed
