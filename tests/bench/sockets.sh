#!/bin/sh
# What the network class adds to calls on sockets, in a guest that counts instructions:
#
#   cargo xtask vm run --icount --file PALISADE:palisade --file SOCKETS:sockets --file tests/bench/sockets.sh -- sh sockets.sh
#
# PALISADE and SOCKETS (of sockets.c) are static. One line for each figure: CONFIGURATION OPERATION INSTRUCTIONS.
set -u
ip link set lo up 2>/dev/null

say() {
	sed "s/^/$1 /"
}

# policy NAME RANGES: Allows of the loopback addresses, beside so many other ranges with ports.
policy() {
	cat <<-POLICY
	apiVersion: security.kubearmor.com/v1
	kind: KubeArmorPolicy
	metadata: { name: $1 }
	spec:
	  selector: { matchLabels: { any: thing } }
	  network:
	    action: Allow
	    matchEndpoints:
	    - { cidr: '127.0.0.1, ::1', ports: [ { port: 4000 } ] }
	POLICY
	for i in $(seq "$2"); do
		echo "    - { cidr: 10.$((i / 250)).$((i % 250)).0/24, ports: [ { port: $((i % 20 + 1000)) } ] }"
	done
}

./sockets | say bare
mkdir -p /sys/fs/cgroup/bench/run
sh -c 'echo $$ >/sys/fs/cgroup/bench/run/cgroup.procs; exec ./sockets' | say in-cgroup
policy few 10 >few.yaml
policy many 1000 >many.yaml
cp /bin/sleep /tmp/bench-hold
./palisade run --policy few.yaml --quiet --enforcer bpf -- /tmp/bench-hold 1000000 </dev/null &
holder=$!
# The programs are there once the command itself runs.
until pidof bench-hold >/dev/null; do
	kill -0 $holder 2>/dev/null || exit 1
	sleep 0.5
done
./sockets | say unlabelled
./palisade run --policy few.yaml --quiet --enforcer bpf -- /payload/sockets | say ranges-10
./palisade run --policy many.yaml --quiet --enforcer bpf -- /payload/sockets | say ranges-1000
kill $(pidof bench-hold)
wait $holder
exit 0
