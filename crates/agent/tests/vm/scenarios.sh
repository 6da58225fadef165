#!/bin/sh
# What `palisade run` promises under BPF, tried on a real kernel: as root in a VM that may be broken, with the example
# `minirun` of this crate.
#
#   scenarios.sh MINIRUN [SCENARIO...]
#
# One line for each promise, `ok` or `FAIL`; the exit code says whether all held. One run is kept alive through all
# scenarios but the last, because loading the programs takes most of a minute in an emulated machine.
set -u
MINIRUN=$1
shift
SCENARIOS=${*:-basic audit outside nested outlive killed many flood links swaps arguments once last}
WORK=$(mktemp -d)
VERSION=v6
PINS=/sys/fs/bpf/palisade-$VERSION
failed=0
CGROUPS=/sys/fs/cgroup
[ -e $CGROUPS/cgroup.procs ] || CGROUPS=/sys/fs/cgroup/unified

check() { # TEXT COMMAND...
	text=$1
	shift
	if "$@"; then
		echo "ok $text"
	else
		echo "FAIL $text"
		failed=1
	fi
}

empty() { [ ! -s "$1" ]; }
gone() { [ ! -e "$1" ]; }
no_runs() { [ -z "$(ls /run/palisade/$VERSION/runs)" ]; }
none_left() { [ -z "$(ls -d $CGROUPS/palisade/run-* 2>/dev/null)" ]; }
same() { [ "$1" = "$2" ] || { echo "  $1 is not $2"; false; }; }
has() { grep -q -- "$2" "$1" || { sed 's/^/  /' "$1"; false; }; }
has_not() { ! grep -q -- "$2" "$1" || { sed 's/^/  /' "$1"; false; }; }

wait_for() { # FILE PATTERN
	for _ in $(seq 1200); do
		grep -q -- "$2" "$1" 2>/dev/null && return 0
		grep -q "^error" "$1" 2>/dev/null && break
		sleep 0.1
	done
	echo "  waited in vain for '$2' in $1:"
	sed 's/^/  /' "$1"
	return 1
}

policy() { # NAME PATH
	cat <<-POLICY
	apiVersion: security.kubearmor.com/v1
	kind: KubeArmorPolicy
	metadata: { name: $1 }
	spec:
	  selector: { matchLabels: { any: thing } }
	  file: { matchPaths: [ { path: $2 } ] }
	  action: Block
	POLICY
}

# The denied file must be readable to us, so that only Palisade can deny it.
mkdir /denied
for i in $(seq 20); do
	echo "secret $i" >/denied/$i
	policy "p$i" "/denied/$i" >$WORK/$i.yaml
done
run() { $MINIRUN --enforcer bpf "$@"; }

$MINIRUN --enforcer bpf -- sleep 100000 2>$WORK/holder &
holder=$!
check "the programs load and a run starts" wait_for $WORK/holder "^started"
[ $failed = 0 ] || exit 1

basic() {
	run --policy $WORK/1.yaml -- sh -c 'cat /denied/2; cat /denied/1; exit 7' >$WORK/out 2>$WORK/err
	check "the exit code passes through" same $? 7
	check "another file is read" has $WORK/out "secret 2"
	check "the denied file is not" has_not $WORK/out "secret 1"
	check "the denial is told with policy and rule" has $WORK/err 'event Block(Errno(13)) read .*cat -> /denied/1 by ("p1", "file.matchPaths\[0\]")'
	check "nothing is lost" has_not $WORK/err "^loss"
	run -- /denied/none 2>/dev/null
	check "a missing command is 127" same $? 127
	run -- /etc/passwd 2>/dev/null
	check "a file that is no program is 126" same $? 126
	run -- sh -c 'kill -15 $$' 2>/dev/null
	check "a signal is 128 and its number" same $? 143
	(echo in; echo more) | run -- sh -c 'read a; echo "got $a"; cat' >$WORK/out 2>/dev/null
	check "stdin passes through" same "$(cat $WORK/out | tr '\n' ' ')" "got in more "
}

audit() {
	run --audit --policy $WORK/1.yaml -- cat /denied/1 >$WORK/out 2>$WORK/err
	check "in audited mode the file is read" has $WORK/out "secret 1"
	check "and the would-be denial is told" has $WORK/err "event WouldBlock read .* -> /denied/1"
}

# A process that leaves its cgroup keeps its label.
outside() {
	run --policy $WORK/1.yaml -- sh -c "(echo 0 >$CGROUPS/cgroup.procs; exec sh -c 'touch $WORK/left; while sleep 0.2; do cat /denied/1; done') >$WORK/out 2>/dev/null & while [ ! -e $WORK/left ]; do sleep 0.1; done 2>/dev/null" 2>$WORK/err
	check "the run ends when its cgroup is empty" has $WORK/err "released=Some(StillHeld)"
	sleep 1
	check "who left is still denied" empty $WORK/out
	pkill -f "cat /denied/1"
	sleep 1
	run -- true 2>/dev/null
	check "its label is freed by the next run" same "$(ls /run/palisade/$VERSION/runs/*.lock | wc -l)" 1
}

nested() {
	run --policy $WORK/1.yaml -- $MINIRUN --enforcer auto -- sh -c 'cat /proc/self/cgroup; cat /denied/1; exit 5' >$WORK/out 2>$WORK/err
	check "the exit code passes through two runs" same $? 5
	check "the inner run takes another back end" has $WORK/err "started backend=Some(Landlock)"
	check "its cgroup lies in the outer one" has $WORK/out "^0::/palisade/run-.*/run-"
	check "the outer policy holds in the inner run" has_not $WORK/out "secret 1"
	check "and its denial is told by the outer run" has $WORK/err "event Block.* -> /denied/1"
	run -- $MINIRUN --enforcer bpf -- true 2>$WORK/err
	check "the inner run says why it cannot take BPF" has $WORK/err "BPF-LSM: "
	grep "BPF-LSM: " $WORK/err
}

outlive() {
	run --grace 1 -- sh -c 'setsid sleep 600 & exit 3' 2>$WORK/err
	check "the exit code is the command's" same $? 3
	check "who outlives it is named" has $WORK/err 'outlived \[Member { pid: [0-9]*, comm: "s[a-z]*" }\]'
	check "and killed after the grace" has $WORK/err "killed=1"
	run --wait -- sh -c 'setsid sleep 2 & exit 3' 2>$WORK/err
	check "or waited for" has $WORK/err "killed=0"
	check "no cgroup is left but the holder's" same "$(ls -d $CGROUPS/palisade/run-* | wc -l)" 1
}

# kill -9 of palisade: its processes stay denied, the next palisade cleans up once they are gone.
killed() {
	run --policy $WORK/1.yaml -- sh -c "setsid sh -c 'while sleep 0.2; do cat /denied/1; echo alive >$WORK/alive; done' >$WORK/out 2>/dev/null & exec sleep 600" 2>$WORK/err &
	victim=$!
	wait_for $WORK/err "^started"
	wait_for $WORK/alive alive
	kill -9 $victim
	wait $victim 2>/dev/null
	rm -f $WORK/alive
	wait_for $WORK/alive alive
	check "who lives on after kill -9 is still denied" empty $WORK/out
	check "and the denial is told by another run, by the rule's name" has $WORK/holder 'event Block.* -> /denied/1 by ("p1", "file.matchPaths\[0\]")'
	run -- true 2>/dev/null
	check "the next run leaves it alone while it lives" same "$(ls /run/palisade/$VERSION/runs/*.lock | wc -l)" 2
	rm -f $WORK/alive
	wait_for $WORK/alive alive
	check "and it is still denied" empty $WORK/out
	pkill -f "cat /denied/1"
	pkill -f "sleep 600"
	sleep 1
	run -- true 2>/dev/null
	check "once it is gone the next run cleans up" same "$(ls /run/palisade/$VERSION/runs/*.lock | wc -l)" 1
	check "its cgroup too" same "$(ls -d $CGROUPS/palisade/run-* | wc -l)" 1
	check "and its legend" same "$(ls /run/palisade/$VERSION/legends | wc -l)" 1
	# Killed itself while its children run on, the reader of the ring is replaced by another run.
	run --policy $WORK/2.yaml -- cat /denied/2 >/dev/null 2>$WORK/err
	check "events are read by whoever is left" has $WORK/err "event Block.* -> /denied/2"
}

many() {
	pids=
	for i in $(seq 20); do
		run --policy $WORK/$i.yaml -- sh -c "exec 2>/dev/null; for j in \$(seq 20); do cat /denied/\$j; done; exit $i" >$WORK/out$i 2>$WORK/err$i &
		pids="$pids $i:$!"
	done
	good=0
	for pair in $pids; do
		i=${pair%%:*}
		wait ${pair##*:}
		code=$?
		events=$(grep -c "^event" $WORK/err$i)
		if [ $code = $i ] && [ "$(wc -l <$WORK/out$i)" = 19 ] && ! grep -qx "secret $i" $WORK/out$i &&
			[ $events = 1 ] && grep -q "^event Block.* -> /denied/$i by (\"p$i\"" $WORK/err$i; then
			good=$((good + 1))
		else
			echo "  run $i: code $code, $(wc -l <$WORK/out$i) files, $events events"
			sed 's/^/  /' $WORK/err$i
		fi
	done
	check "20 runs at once: each is denied its own file, and told its own events alone" same $good 20
	check "all are released" same "$(ls /run/palisade/$VERSION/runs/*.lock | wc -l)" 1
}

flood() {
	count=5000
	run --policy $WORK/1.yaml -- sh -c "i=0; while [ \$i -lt $count ]; do true </denied/1; i=\$((i+1)); done 2>/dev/null" 2>$WORK/err
	told=$(sed -n 's/^event .* x\([0-9]*\)$/\1/p' $WORK/err | paste -sd+ | { read -r sum; echo $((${sum:-0})); })
	lost=$(sed -n 's/^loss \([0-9]*\) .*/\1/p' $WORK/err | paste -sd+ | { read -r sum; echo $((${sum:-0})); })
	echo "  $count denials: told $told, lost $lost, in $(grep -c '^event' $WORK/err) lines"
	check "every denial is told or counted as lost" same $((told + lost)) $count
}

# A link, then a mount, on the way of a Block that come after the start; an Allow gains nothing by them.
links() {
	mkdir -p /late/data /late/there /late/links /late/mnt
	for d in data there; do echo "late $d" >/late/$d/secret; done
	ln -s /late/there/secret /late/links/secret
	policy late /late/x/secret >$WORK/late.yaml
	run --policy $WORK/late.yaml -- sh -c 'cat /late/data/secret; ln -s /late/data /late/x; sleep 1; cat /late/x/secret; cat /late/data/secret; exec 2>/dev/null; rm /late/x; sleep 1; cat /late/data/secret' >$WORK/out 2>$WORK/err
	check "before the link is there the file is read, then not by either name, also when it is gone again" same "$(cat $WORK/out)" "late data"
	check "the denial names the rule" has $WORK/err 'event Block.* -> /late/data/secret by ("late", "file.matchPaths\[0\]")'
	check "that the rule gained a name is told" has $WORK/err "^message links appeared: rules hold for 1 more"
	grep "^message" $WORK/err
	policy mounted /late/mnt/secret >$WORK/mounted.yaml
	# From outside: mount-integrity keeps the workload from it.
	rm $WORK/out
	run --policy $WORK/mounted.yaml -- sh -c 'cat /late/there/secret; until mountpoint -q /late/mnt; do sleep 0.1; done; sleep 1; cat /late/there/secret' >$WORK/out 2>$WORK/err &
	late=$!
	waited=0
	until [ -s $WORK/out ] || [ $waited = 100 ]; do
		sleep 0.1
		waited=$((waited + 1))
	done
	mount --bind /late/links /late/mnt
	wait $late
	umount /late/mnt
	check "a link that a mount brings is followed as well" same "$(cat $WORK/out)" "late there"
	cat >$WORK/allow.yaml <<-POLICY
	apiVersion: security.kubearmor.com/v1
	kind: KubeArmorPolicy
	metadata: { name: allow }
	spec:
	  selector: { matchLabels: { any: thing } }
	  file:
	    matchPaths: [ { path: /late/open/y/secret } ]
	    matchDirectories:
	    - { dir: /usr/, recursive: true }
	    - { dir: /etc/, recursive: true }
	    - { dir: /late/open/, recursive: true }
	  action: Allow
	POLICY
	mkdir /late/open
	run --policy $WORK/allow.yaml -- sh -c 'ln -s /late/data /late/open/y || echo no link; sleep 1; cat /late/open/y/secret' >$WORK/out 2>$WORK/err
	check "an Allow does not follow a link that the workload makes" empty $WORK/out
	check "and the denial is the posture's" has $WORK/err 'event Block.* -> /late/data/secret by .*DefaultPosture'
	rm /late/x 2>/dev/null
	# From the link to the denial: read in a loop until it is refused.
	cat >$WORK/window.py <<-'PYTHON'
	import os, time
	for i in range(5):
	    os.mkdir(f"/late/w{i}")
	    open(f"/late/w{i}/secret", "w").close()
	    os.symlink(f"/late/w{i}", "/late/x")
	    begun, opens = time.monotonic(), 0
	    try:
	        while time.monotonic() - begun < 10:
	            open(f"/late/w{i}/secret").close()
	            opens += 1
	    except PermissionError:
	        pass
	    print(f"  {opens} opens in {1000 * (time.monotonic() - begun):.1f} ms from the link to the denial")
	    os.unlink("/late/x")
	    time.sleep(0.3)
	PYTHON
	run --policy $WORK/late.yaml -- python3 $WORK/window.py 2>$WORK/err
	check "each of five links is followed" same "$(grep -c 'rules hold for 1 more' $WORK/err)" 5
}

# Tables swapped under accesses: none passes that is denied, none is denied that passes, none is missing in the events.
swaps() {
	mkdir -p /swap/target
	echo f >/swap/free; echo b >/swap/blocked
	cat >$WORK/swap.yaml <<-POLICY
	apiVersion: security.kubearmor.com/v1
	kind: KubeArmorPolicy
	metadata: { name: swap }
	spec:
	  selector: { matchLabels: { any: thing } }
	  file:
	    matchPaths:
	    - { path: /swap/blocked, action: Block }
	    - { path: /swap/free, action: Audit }
	    - { path: /swap/link/secret, action: Block }
	  action: Audit
	POLICY
	cat >$WORK/swap.py <<-'PYTHON'
	import os, sys, time
	def passes(path):
	    try:
	        open(path).close()
	        return True
	    except PermissionError:
	        return False
	child = os.fork()
	if child == 0:
	    # As often as it takes: a machine that is busy swaps seldom.
	    for i in range(250):
	        os.symlink(f"/swap/target/{i}", "/swap/link")
	        time.sleep(0.2)
	        os.unlink("/swap/link")
	        if i >= 20 and open(sys.argv[1]).read().count("rules hold for") >= 10:
	            break
	    os._exit(0)
	passed = refused = tries = 0
	while os.waitpid(child, os.WNOHANG) == (0, 0):
	    tries += 1
	    passed += passes("/swap/blocked")
	    refused += not passes("/swap/free")
	    time.sleep(0.0005)
	print(passed, refused, tries)
	PYTHON
	run --policy $WORK/swap.yaml -- python3 $WORK/swap.py $WORK/err >$WORK/out 2>$WORK/err
	read -r passed refused tries <$WORK/out
	check "none of $tries denied accesses passes while tables are swapped" same $passed 0
	check "none that passes is refused" same $refused 0
	swapped=$(grep -c "rules hold for" $WORK/err)
	check "the table was swapped many times ($swapped)" [ $swapped -ge 10 ]
	for kind in "Block.* -> /swap/blocked by (\"swap\", \"file.matchPaths\[0\]\")" "Audit.* -> /swap/free by (\"swap\", \"file.matchPaths\[1\]\")"; do
		told=$(sed -n "s%^event $kind x\([0-9]*\)$%\1%p" $WORK/err | paste -sd+ | { read -r sum; echo $((${sum:-0})); })
		check "every one is told, by the rule's name" same "$told" $tries
	done
	check "nothing is lost" has_not $WORK/err "^loss"
}

# What the kernel programs read of an exec's strings: argv[0] at every place in its pages, and arguments in events.
arguments() {
	mkdir /arg
	cp /bin/true /arg/busybox
	cp /bin/true /arg/denied
	ln -s busybox /arg/sh
	cat >$WORK/arguments.yaml <<-POLICY
	apiVersion: security.kubearmor.com/v1
	kind: KubeArmorPolicy
	metadata: { name: arguments }
	spec:
	  selector: { matchLabels: { any: thing } }
	  process: { matchPaths: [ { path: /arg/sh }, { path: /arg/denied } ] }
	  action: Block
	POLICY
	cat >$WORK/names.py <<-'PYTHON'
	import os
	def starts(argv, env={}):
	    pid = os.fork()
	    if pid == 0:
	        try:
	            os.execve("/arg/busybox", argv, env)
	        except PermissionError:
	            os._exit(3)
	        os._exit(4)
	    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
	wrong = tried = 0
	def expect(code, argv, env={}):
	    global wrong, tried
	    tried += 1
	    if starts(argv, env) != code:
	        wrong += 1
	        print("wrong:", len(argv[0]), argv[0][-8:], "is not", code)
	for pages in 0, 1, 2, 31:
	    for around in range(-6, 7):
	        length = pages * 4096 + around
	        if length > 0:
	            expect(3, ["a" * length + "/sh"])
	            expect(0, ["a" * length + "/ash"])
	            expect(0, ["a" * length + "sh"])
	            expect(3, ["/sh"], {"x": "y" * length})
	            expect(3, ["/sh", "z" * length])
	for last in "sh", "/sh", "//sh", "x/sh":
	    expect(3, [last])
	for last in "/", "sh/", "sh/x", "b" * 300, "/" + "b" * 252 + "/sh/" + "c" * 256:
	    expect(0, [last])
	print(wrong, tried)
	PYTHON
	run --policy $WORK/arguments.yaml -- python3 $WORK/names.py >$WORK/out 2>$WORK/err
	read -r wrong tried <$WORK/out || wrong="none"
	check "argv[0] is read wherever it lies ($tried programs)" same "$wrong" 0
	[ "$wrong" = 0 ] || cat $WORK/out
	for words in '"one", "", "\x1b[31mtwo words"' '"x" * 4088' '"x" * 4089' '"x" * 9000' '*["y"] * 5000'; do
		run --policy $WORK/arguments.yaml -- python3 -c "import os; os.execve('/arg/denied', ['denied', $words], {'secret': 'environment'})" 2>$WORK/err
		grep -a "^arguments" $WORK/err | cut -c1-100
	done >$WORK/told
	cat $WORK/told
	check "arguments are in the event, whole" has $WORK/told '^arguments \[6, 3, 0, 14\] cut=false \["denied", "one", "", "\\u{1b}\[31mtwo words"'
	check "a record's worth of them is not cut" has $WORK/told '^arguments \[6, 4088\] cut=false'
	check "one byte more is cut, and said" same "$(grep -c '^arguments \[6, 4089\] cut=true' $WORK/told)" 2
	check "so are many short ones" has $WORK/told '^arguments \[6, 1, 1, .*'
	check "the environment is not in the event" has_not $WORK/told environment
}

# One event for one open; and what was reported of one keeps nothing silent about another.
once() {
	mkdir /once
	cat >$WORK/once.yaml <<-POLICY
	apiVersion: security.kubearmor.com/v1
	kind: KubeArmorPolicy
	metadata: { name: once }
	spec:
	  selector: { matchLabels: { any: thing } }
	  file: { matchDirectories: [ { dir: /once/ } ] }
	  action: Audit
	POLICY
	tally() { # MODE CODE: events that the code makes, aggregated ones by their count
		run $1 --policy $WORK/once.yaml -- python3 -c "import os; O = os.open; W, R, C, T = os.O_WRONLY, os.O_RDONLY, os.O_CREAT, os.O_TRUNC; $2" 2>$WORK/err
		sed -n 's/^event .* -> \/once\/.* x\([0-9]*\)$/\1/p' $WORK/err | paste -sd+ | { read -r sum; echo $((${sum:-0})); }
	}
	for mode in "" --audit; do
		rm -f /once/*
		check "creating and opening is one event ($mode)" same "$(tally "$mode" 'O("/once/a", W | C)')" 1
		check "so is truncating" same "$(tally "$mode" 'O("/once/a", W | T)')" 1
		check "so is all three, twice" same "$(tally "$mode" 'O("/once/b", W | C | T); O("/once/b", W | C | T)')" 2
		check "mknod and then open are two" same "$(tally "$mode" 'os.mknod("/once/c"); O("/once/c", W)')" 2
		check "a creation and a later open are two" same "$(tally "$mode" 'O("/once/d", W | C); O("/once/d", R)')" 2
		check "an open and ftruncate are two, truncate is one more" same "$(tally "$mode" 'f = O("/once/d", W | T); os.ftruncate(f, 1); os.truncate("/once/d", 0)')" 3
	done
}

last() {
	kill $holder
	wait $holder 2>/dev/null
	check "the last run detaches the programs" gone $PINS
	check "no run is left" no_runs
	check "no cgroup is left" none_left
	cat /denied/1 >$WORK/out
	check "and nothing is denied any more" has $WORK/out "secret 1"
}

for scenario in $SCENARIOS; do
	echo "# $scenario"
	$scenario
done
[ -e $PINS ] && { kill $holder; wait $holder 2>/dev/null; }
rm -r $WORK /denied
exit $failed
