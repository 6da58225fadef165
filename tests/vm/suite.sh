#!/bin/bash
# Everything that is tested in a virtual machine, as root: the corpus by real system calls under BPF-LSM, what
# `palisade run` promises, and a real nginx under its policy. Called by `cargo xtask test`, in /payload.
#
#   suite.sh GROUP...    groups: run, agent, corpus, containers, containers-whole, mappings, landlock, learn, bypass, lifecycle,
#                        races, opens, opens-controls (which guest runs which: xtask/src/suite/test.rs); facts (what this kernel is, for `cargo xtask
#                        test-kernels`); all: everything but what needs a kernel's audit log
# OPENS in the environment: judged opens of the stress test on each of two file systems.
#
# One line for each part, the figures in between; the last line counts the parts.
set -u
OPENS=${OPENS:-50000}
passed=0
failed=0
tar -xf decisions.tar
tar -xf examples.tar
mkdir -p out

part() { # NAME COMMAND...
	local name=$1 started=$SECONDS
	shift
	echo "=== $name"
	if "$@"; then
		passed=$((passed + 1))
		echo "=== $name: passed in $((SECONDS - started)) s of guest time"
	else
		failed=$((failed + 1))
		echo "=== $name: FAILED"
	fi
}

# How long the kernel waits before it lets go of what somebody may still read. Most of a corpus's time is such waits, with
# nothing to find in them: "quick" there. Where moments count it is "usual".
grace() { # quick|usual
	if [ "$1" = quick ]; then echo 1; else echo 0; fi >/sys/kernel/rcu_expedited
}

# Loading the programs takes up to half a minute under emulation: one palisade, which reads no events, holds them for the
# parts that only need them to be there.
held() {
	[ -e holding ] && return
	touch holding
	mkfifo held 2>/dev/null
	./lifecycle hold "" holding >held &
	holder=$!
	grep -q protected held || { echo "FAIL the programs cannot be held"; exit 1; }
}
unheld() {
	[ -e holding ] || return
	rm holding
	wait $holder || { echo "FAIL the programs cannot be let go"; exit 1; }
}

corpus() { # NAME ARGUMENTS...
	local name=$1 code=0
	shift
	mkdir -p /var/corpus
	if [ "$(df --output=fstype /var/corpus | tail -1)" != ext4 ]; then
		echo "/var/corpus is not on ext4"
		return 1
	fi
	./corpus-run --backend bpf --corpus decisions --root-fs /var/corpus --json "out/$name.json" "$@" \
		>"out/$name.txt" 2>"out/$name.err" || code=1
	cat "out/$name.txt"
	head -20 "out/$name.err"
	return $code
}

run() {
	grace quick
	unheld
	part "run: what it promises (kill -9, 20 at once, one in another, losses counted)" sh scenarios.sh /payload/minirun
	held
	part "nginx under its policy" bash nginx.sh /payload/palisade /payload/examples bpf
}

agent() {
	unheld
	part "the agent: policies come and go, killed and taken over" bash agent.sh /payload/palisade
}

corpus_ext4() {
	grace quick
	held
	part "corpus under BPF-LSM on ext4" corpus ext4
}

lifecycle() {
	unheld
	grace usual
	part "the kernel side is adopted, upgraded, detached, cleaned up" ./lifecycle /payload/palisade
}

# Races want a kernel that preempts wherever it can; those of a kernel whose model cannot be chosen show less, and say so.
races() {
	held
	grace usual
	debugfs
	echo full >/sys/kernel/debug/sched/preempt || echo "SKIPPED: preempt=full: this kernel's model cannot be chosen"
	part "races under preempt=full" ./races
	part "the races' control leaks" ./races-controls
}

# What the kernel is, before anything changes it: with each object that there is.
facts() {
	unheld
	debugfs
	for object in clang-*.bpf.o; do
		part "facts with $object" facts_of "$object"
	done
}

facts_of() { # OBJECT
	./kernel-facts "$1" >"out/facts-${1%.bpf.o}.json"
}

debugfs() {
	mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
}

containers() { # ARGUMENTS...
	grace quick
	held
	part "corpus under BPF-LSM in containers of runc on overlayfs" corpus runc --setting runc "$@"
}

learn() {
	grace quick
	held
	part "policies learned, and the same work again under them" bash learn.sh /payload/palisade
}

bypass() {
	unheld
	grace usual
	part "bypass suite on ext4, overlayfs and in containers, each attack with its control" \
		bash bypass.sh /payload ext4 overlay runc runc-plain
}

opens() {
	held
	grace usual
	part "opens while paths and tables change, ext4: $OPENS judged" bash stress.sh ext4 "$OPENS"
	part "opens while paths and tables change, overlayfs: $OPENS judged" bash stress.sh overlay "$OPENS"
}

opens_controls() {
	unheld
	grace usual
	part "opens without a part of the cache's key: each must fail" bash stress.sh controls
}

for group; do
	case $group in
	run) run ;;
	agent) agent ;;
	corpus) corpus_ext4 ;;
	# A container costs most of a second under emulation: what layers and layouts are about, and a sample of the rest.
	containers) containers --filter "map_exec: " --filter "links: " --filter "layouts: " --every 5 ;;
	containers-whole) containers ;;
	# From Linux 6.7 a mapping of an overlay's file is one of the layer's.
	mappings)
		grace quick
		grace quick
		held
		part "executable mappings through an overlay" corpus mappings --setting overlay --filter "map_exec: "
		;;
	learn) learn ;;
	landlock) part "Landlock's denials are shown" bash landlock.sh /payload/palisade ;;
	bypass) bypass ;;
	lifecycle) lifecycle ;;
	races) races ;;
	opens) opens ;;
	opens-controls) opens_controls ;;
	facts) facts ;;
	all)
		facts
		run
		agent
		corpus_ext4
		containers
		grace quick
		held
		part "executable mappings through an overlay" corpus mappings --setting overlay --filter "map_exec: "
		learn
		bypass
		lifecycle
		races
		opens
		opens_controls
		;;
	*)
		echo "suite.sh: no group $group" >&2
		exit 2
		;;
	esac
done
unheld
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed != 0 ]
