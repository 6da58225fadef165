#!/bin/bash
# `palisade agent` under BPF-LSM, as root in a VM: a unit under a file of policies that comes, goes bad and goes, with the
# agent killed and started again in between.
#
#   agent.sh PALISADE
#
# A unit is a cgroup of its name in a slice, made here as systemd makes it. One line for each promise, `ok` or `FAIL`; the
# exit code says whether all held.
set -u
PALISADE=$1
WORK=$(mktemp -d)
UNIT=/sys/fs/cgroup/system.slice/demo.service
failed=0

check() { # TEXT COMMAND...
	local text=$1
	shift
	if "$@"; then
		echo "ok $text"
	else
		echo "FAIL $text"
		failed=1
	fi
}
has() { grep -q -- "$2" "$1" || { sed 's/^/  /' "$1"; false; }; }
has_not() { ! grep -q -- "$2" "$1" || { sed 's/^/  /' "$1"; false; }; }
same() { [ "$1" = "$2" ] || { echo "  $1 is not $2"; false; }; }
wait_until() { # COMMAND...
	for _ in $(seq 900); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	echo "  waited in vain for: $*"
	return 1
}

policy() { # NAME PATH
	cat <<-POLICY
	apiVersion: security.kubearmor.com/v1
	kind: KubeArmorPolicy
	metadata: { name: $1 }
	spec:
	  selector: { matchLabels: { kubearmor.io/container.name: demo.service } }
	  severity: 6
	  file: { matchPaths: [ { path: $2 } ] }
	  action: Block
	POLICY
}

# A process of the unit from before the agent; what it reads, or that it may not, is what the policies are.
mkdir -p $UNIT $WORK/policies /denied
echo secret >/denied/1
echo secret >/denied/2
(echo 0 >$UNIT/cgroup.procs && exec sh -c 'while sleep 0.05; do cat /denied/1 >/dev/null 2>&1 && echo read || echo denied; done') \
	>$WORK/reader 2>$WORK/reader.err &
reader=$!
newest() { tail -n 1 $WORK/reader; }
reads() { [ "$(newest)" = read ]; }
is_denied() { [ "$(newest)" = denied ]; }
in_unit() { (echo 0 >$UNIT/cgroup.procs && exec "$@"); }

start() { # NUMBER
	$PALISADE agent --policies $WORK/policies --unit demo.service --state $WORK/state 2>$WORK/agent$1 &
	agent=$!
	wait_until grep -q "listening at" $WORK/agent$1 && wait_until $PALISADE workloads
}
listed() { $PALISADE policy list >$WORK/listed; grep -q "$1" $WORK/listed; }
logs() { $PALISADE logs -o json "$@" >$WORK/logs; }

check "a unit reads what nobody denies" wait_until reads
check "the agent starts" start 1
[ $failed = 0 ] || { cat $WORK/agent1; exit 1; }
$PALISADE workloads >$WORK/workloads
check "a unit that runs is a workload" has $WORK/workloads "demo.service .*container_namespace .*BPF-LSM .*full"
check "without a policy it reads" reads
$PALISADE agent --unit demo.service >$WORK/second 2>&1
check "a second agent is refused" same $? 2
check "and told of the first" has $WORK/second "an agent runs already (process $agent;"

policy no-secrets /denied/1 >$WORK/policies/p.yaml
check "a policy file that is dropped in denies a running process" wait_until is_denied
check "another file is read" in_unit cat /denied/2
check "who is not of the unit reads" cat /denied/1
logs --limit 1 --operation file --action block
for field in '"PolicyName":"no-secrets"' '"Severity":"6"' '"Type":"MatchedPolicy"' '"Operation":"File"' \
	'"Resource":"/denied/1"' '"Data":"lsm=FILE_OPEN"' '"EventData":{"Lsm":"FILE_OPEN"}' '"Action":"Block"' \
	'"Result":"Permission denied"' '"Enforcer":"BPFLSM"' '"ContainerName":"demo.service"' \
	'"NamespaceName":"container_namespace"' '"ProcessName":"[^"]*/cat"' '"HostPID":[0-9]' \
	'"PalisadeRule":"file.matchPaths\[0\]"' '"PalisadeOrigin":"[^"]*/p.yaml:7"'; do
	check "its event has $field" has $WORK/logs "$field"
done
logs --container '^other$'
check "another filter shows nothing" same "$(wc -l <$WORK/logs)" 0
check "text names what happened" eval '$PALISADE logs --limit 1 | grep -q "^Resource: /denied/1$"'

# Killed: what was in force stays, without a single read; the next agent takes it over and tells what happened meanwhile.
before=$(wc -l <$WORK/reader)
kill -9 $agent
wait $agent 2>/dev/null
in_unit cat /denied/1 2>/dev/null
check "a killed agent's policies deny a new process" same $? 1
in_unit sh -c 'exec 3</denied/1' 2>/dev/null # by a program that no other event names
check "the next agent starts" start 2
wait_until listed demo.service
tail -n +$((before + 1)) $WORK/reader >$WORK/meanwhile
check "it took over without a gap ($(wc -l <$WORK/meanwhile) tries)" has_not $WORK/meanwhile read
logs --source 'sh$'
check "what happened while no agent was there is told, with its policy" has $WORK/logs '"PolicyName":"no-secrets"'

echo 'kind: [' >$WORK/policies/p.yaml
check "a bad file is said to be bad, by line" wait_until listed "p.yaml:[12]:.*what the file said before holds"
check "and what it said before holds" is_denied

policy more /denied/2 >$WORK/more.yaml
check "a policy is added over the socket" $PALISADE policy add $WORK/more.yaml
in_unit cat /denied/2 2>/dev/null
check "and denies" same $? 1
check "it is taken away again" $PALISADE policy delete $WORK/more.yaml
check "and allows" in_unit cat /denied/2

rm $WORK/policies/p.yaml
check "a policy file that is gone denies nothing any more" wait_until reads

$PALISADE logs --follow --limit 1 -o json >$WORK/followed 2>&1 &
follower=$!
sleep 0.5
policy no-secrets /denied/1 >$WORK/policies/p.yaml
check "who follows gets the next event" wait $follower
check "and it is that" has $WORK/followed '"Resource":"/denied/1"'

kill $agent
wait $agent
check "the agent ends when told" same $? 0
in_unit cat /denied/1 2>/dev/null
check "and what was in force stays" same $? 1
kill -9 $reader
check "what is in force is taken off on request" $PALISADE agent --detach
check "and nothing is left" [ ! -e /sys/fs/bpf/palisade-v6 ]
check "and nothing denied" in_unit cat /denied/1
has_not $WORK/agent1 panicked && has_not $WORK/agent2 panicked || failed=1
[ $failed = 0 ] || sed 's/^/agent: /' $WORK/agent1 $WORK/agent2
exit $failed
