#!/bin/bash
# Everything that is tested in a virtual machine, as root: the corpus by real system calls under BPF-LSM, what
# `palisade run` promises, and a real nginx under its policy. Called by `cargo xtask test`, in /payload.
#
#   suite.sh GROUP...    groups: run, corpus, landlock (which one guest runs beside which is xtask/src/suite/test.rs's)
#
# One line for each part, the figures in between; the last line counts the parts.
set -u
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

corpus() { # NAME DIRECTORY [FILTER...]
	local name=$1 dir=$2 code=0
	shift 2
	df --output=fstype,target "$dir" | tail -1
	if [ $# = 0 ]; then set -- ""; fi
	for filter; do
		./corpus-run --backend bpf --corpus decisions --root-fs "$dir" ${filter:+--filter "$filter"} --json "out/$name$filter.json" \
			>"out/$name$filter.txt" 2>"out/$name$filter.err" || code=1
		if [ -z "$filter" ]; then cat "out/$name.txt"; else grep -E "^total|^WRONG" "out/$name$filter.txt"; fi
		head -20 "out/$name$filter.err"
	done
	return $code
}

run() {
	part "run: what it promises (kill -9, 20 at once, one in another, losses counted)" sh scenarios.sh /payload/minirun
	part "nginx under its policy" bash nginx.sh /payload/palisade /payload/examples bpf
	overlay
	# "exec: " takes map_exec in
	part "corpus under BPF-LSM on overlayfs" corpus overlayfs /var/overlay/merged "exec: " "files: " "links: " "conditions: "
}

corpus_ext4() {
	mkdir -p /var/corpus
	part "corpus under BPF-LSM on ext4" corpus ext4 /var/corpus
}

overlay() {
	mkdir -p /var/overlay/{lower,upper,work,merged}
	mount -t overlay -o lowerdir=/var/overlay/lower,upperdir=/var/overlay/upper,workdir=/var/overlay/work none /var/overlay/merged
}

for group; do
	case $group in
	run) run ;;
	corpus) corpus_ext4 ;;
	landlock) part "Landlock's denials are shown" bash landlock.sh /payload/palisade ;;
	*)
		echo "suite.sh: no group $group" >&2
		exit 2
		;;
	esac
done
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed != 0 ]
