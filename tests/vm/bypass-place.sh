# Sourced by bypass.sh: the places that attacks are tried in, and who acts there.
#
#   ext4         a directory on ext4, workloads as cgroups
#   overlay      the same on overlayfs, where directories may be renamed; what is attacked lies in the lower layer
#   runc         containers of runc on overlayfs, with all capabilities, the host's processes, devices, /sys and /run
#   runc-plain   containers with what container engines give by default
#
# For each setting: ROOT is the container's root as the host sees it, BASE the place as the workload sees it.

PLACES=/var/bypass
GIVEN_TO_CONTAINERS="AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
ALL_CAPABILITIES="$GIVEN_TO_CONTAINERS AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND BPF CHECKPOINT_RESTORE DAC_READ_SEARCH IPC_LOCK IPC_OWNER LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE NET_ADMIN NET_BROADCAST PERFMON SYS_ADMIN SYS_BOOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG SYSLOG WAKE_ALARM"
# Workloads by name; "outside" has no policy.
WORKLOADS="strict list lax outside"
helpers=()

is_container() { case $1 in runc*) true ;; *) false ;; esac; }

at_setting() { # SETTING: sets ROOT, BASE
	case $1 in
	ext4) ROOT="" BASE=$PLACES/ext4/suite ;;
	overlay) ROOT="" BASE=$PLACES/overlay/merged/suite ;;
	runc*) ROOT=$PLACES/$1/merged BASE=/suite ;;
	esac
}

# What is there, in a directory that is not a layer of anything yet.
furnish() { # DIR
	local dir=$1 kind
	mkdir -p "$dir"/{bin,work,given,trusted,sourced,io} "$dir"/{deny,free,above-deny,above-free,run-deny,run-free}/dir \
		"$dir"/{deny,free}/run "$dir"/layers-{deny,free} "$dir"/late-{deny,free}/target/data "$dir"/turn/place "$dir"/mnt/{bind,from,to,overlay,disk,proc,new,clone,pivot}
	cp "$BYPASS" "$dir/bin/bypass"
	for kind in deny free; do
		echo "secret" >"$dir/$kind/dir/secret"
		echo "secret" >"$dir/above-$kind/dir/secret"
		echo "secret" >"$dir/late-$kind/target/data/secret"
		cp "$BYPASS" "$dir/$kind/dir/program"
		cp "$BYPASS" "$dir/run-$kind/dir/program"
		cp /bin/true "$dir/run-$kind/dir/dynamic"
		cp "$PRELOAD" "$dir/run-$kind/dir/preload.so"
		touch "$dir/$kind/run/docker.sock" "$dir/$kind/run/docker.datagram"
	done
	cp "$PRELOAD" "$dir/work/preload.so"
	cp /bin/true "$dir/bin/dynamic"
	cp /bin/true "$dir/trusted/dynamic"
	echo "harmless" >"$dir/free/harmless"
	echo "secret" >"$dir/sourced/secret"
	cp "$BYPASS" "$dir/trusted/program"
}

# A volume with an overlay whose layers can be seen.
furnish_layers() { # DIR
	local dir=$1 name
	mkdir -p "$dir"/{lower,upper}/{dir,veil} "$dir"/{upper/alias,lower/hidden} "$dir"/{work,merged}
	for name in dir/secret dir/whited hidden/redirected dir/replaced dir/unlinked veil/secret; do echo "secret" >"$dir/lower/$name"; done
	echo "secret" >"$dir/upper/dir/moved"
	mount -t overlay -o "redirect_dir=on,lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" none "$dir/merged"
}

make_place() { # SETTING
	local setting=$1 dir=$PLACES/$1 kind
	at_setting "$setting"
	mkdir -p "$dir"/{lower,upper,work,merged,policies,daemon} "$dir"/layers/{deny,free}
	case $setting in
	ext4) furnish "$BASE" ;;
	overlay) furnish "$dir/lower/suite" ;;
	runc*)
		furnish "$dir/lower/suite"
		mkdir -p "$dir"/lower/{proc,sys,dev,run,tmp,usr,bin,lib64,lib/x86_64-linux-gnu}
		cp /bin/true "$dir/lower/bin/"
		cp -L /lib64/ld-linux-x86-64.so.2 "$dir/lower/lib64/"
		cp -L /lib/x86_64-linux-gnu/libc.so.6 "$dir/lower/lib/x86_64-linux-gnu/"
		;;
	esac
	[ "$setting" = ext4 ] ||
		mount -t overlay -o "redirect_dir=on,lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" none "$dir/merged"
	for kind in deny free; do furnish_layers "$dir/layers/$kind"; done
	"$BYPASS" listen "$dir/daemon/docker.sock" "$dir/daemon/docker.datagram" "$ROOT$BASE"/{deny,free}/dir/socket &
	helpers+=($!)
	"$BYPASS" outside "$ROOT$BASE/io/outside" "$BASE" &
	helpers+=($!)
	while [ ! -S "$dir/daemon/docker.datagram" ] || [ ! -S "$ROOT$BASE/io/outside" ]; do sleep 0.05; done
	policies "$dir/policies"
	is_container "$setting" && return
	mount -t tmpfs given "$BASE/given"
	for kind in deny free; do
		mount --rbind "$dir/layers/$kind" "$BASE/layers-$kind"
		mount --bind "$dir/daemon/docker.sock" "$BASE/$kind/run/docker.sock"
		mount --bind "$dir/daemon/docker.datagram" "$BASE/$kind/run/docker.datagram"
	done
}

policy() { # FILE, the spec on stdin
	local name=${1##*/}
	{
		printf 'apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {name: %s}\nspec:\n' "${name%.yaml}"
		printf '  selector: {matchLabels: {any: thing}}\n'
		cat
	} >"$1"
}

policies() { # DIR: those for BASE
	policy "$1/strict.yaml" <<-POLICY
		  file:
		    matchDirectories:
		    - {dir: /, recursive: true, action: Allow}
		    - {dir: $BASE/deny/, recursive: true, action: Block}
		    - {dir: $BASE/layers-deny/, recursive: true, action: Block}
		    - {dir: $BASE/late-deny/current/data/, recursive: true, action: Block}
		    matchPaths:
		    - {path: $BASE/sourced/secret, action: Block}
		    - {path: $BASE/sourced/secret, fromSource: [{path: $BASE/trusted/program}, {path: $BASE/trusted/dynamic}], action: Allow}
		    - {path: $BASE/above-deny/dir/secret, action: Block}
		  process:
		    matchDirectories:
		    - {dir: $BASE/run-deny/, recursive: true, action: Block}
		    matchPaths:
		    - {path: $BASE/run-deny/dir/program, action: Block}
		    - {path: $BASE/run-deny/dir/preload.so, action: Block}
	POLICY
	policy "$1/list.yaml" <<-POLICY
		  file:
		    matchDirectories:
		    - {dir: $BASE/bin/, action: Allow}
		    - {dir: $BASE/deny/, recursive: true, action: Allow}
		    - {dir: $BASE/free/, recursive: true, action: Allow}
		    - {dir: $BASE/work/, recursive: true, action: Allow}
		    - {dir: $BASE/turn/, action: Allow}
		    - {dir: $BASE/turn/place/, recursive: true, action: Allow}
		  process:
		    matchDirectories:
		    - {dir: $BASE/bin/, action: Allow}
	POLICY
	policy "$1/lax.yaml" <<-POLICY
		  network: {matchProtocols: [{protocol: icmp, action: Block}]}
	POLICY
}

# === who acts: `bypass serve`, one in each workload; orders go into order_to, answers come out of answer_of ===

declare -A order_to answer_of pid_in

start_serving() { # SETTING WORKLOAD
	local setting=$1 workload=$2 dir=$PLACES/$1/$2 key="$1,$2" orders answers
	at_setting "$setting"
	mkdir -p "$dir"
	rm -f "$dir"/{orders,answers}
	mkfifo "$dir"/{orders,answers}
	exec {orders}<>"$dir/orders" {answers}<>"$dir/answers"
	order_to[$key]=$orders answer_of[$key]=$answers
	if is_container "$setting"; then
		bundle "$setting" "$workload" >"$dir/config.json"
		runc --root "$PLACES/runc-state" run --detach --preserve-fds 6 --pid-file "$dir/pid" --bundle "$dir" "bypass-$setting-$workload" \
			3<"$dir/orders" 4>"$dir/answers" 5</dev/null 6</dev/null 7</dev/null </dev/null >"$dir/said" 2>&1 ||
			{ cat "$dir/said"; exit 1; }
		pid_in[$key]=$(cat "$dir/pid")
	else
		mkdir -p "/sys/fs/cgroup/bypass-$setting-$workload"
		sh -c 'echo $$ >"$1" && shift && exec "$@"' sh "/sys/fs/cgroup/bypass-$setting-$workload/cgroup.procs" \
			"$BASE/bin/bypass" serve "$BASE" 3<"$dir/orders" 4>"$dir/answers" </dev/null &
		pid_in[$key]=$!
	fi
	answer_from "$key"
	[ "$answer" = serving ] || { echo "$key does not serve: $answer"; exit 1; }
}

stop_serving() { # SETTING WORKLOAD
	local key="$1,$2" orders=${order_to["$1,$2"]} answers=${answer_of["$1,$2"]}
	kill -KILL "${pid_in[$key]}"
	exec {orders}>&- {answers}<&-
	if is_container "$1"; then
		runc --root "$PLACES/runc-state" delete --force "bypass-$1-$2"
	else
		wait "${pid_in[$key]}" 2>/dev/null
	fi
}

answer_from() { # KEY: sets answer
	read -r -t 300 answer <&"${answer_of[$1]}" || answer=none
}

# The configuration of a container.
bundle() { # SETTING WORKLOAD
	local setting=$1 workload=$2 dir=$PLACES/$1 capabilities namespaces mounts kind name device
	if [ "$setting" = runc ]; then
		capabilities=$ALL_CAPABILITIES namespaces="mount ipc uts"
		mounts='{"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "rw"]},
			{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rw"]},
			{"destination": "/run", "type": "bind", "source": "/run", "options": ["rbind", "rw"]},'
		device='[{"allow": true, "access": "rwm"}]'
	else
		capabilities=$GIVEN_TO_CONTAINERS namespaces="mount ipc uts pid network cgroup"
		mounts='{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
			{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
			{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},'
		device='[{"allow": false, "access": "rwm"}]'
	fi
	capabilities=$(printf '"CAP_%s",' $capabilities) namespaces=$(printf '{"type": "%s"},' $namespaces)
	for kind in deny free; do
		mounts="$mounts {\"destination\": \"$BASE/layers-$kind\", \"type\": \"bind\", \"source\": \"$dir/layers/$kind\", \"options\": [\"rbind\", \"rw\"]},"
		for name in docker.sock docker.datagram; do
			mounts="$mounts {\"destination\": \"$BASE/$kind/run/$name\", \"type\": \"bind\", \"source\": \"$dir/daemon/$name\", \"options\": [\"bind\", \"rw\"]},"
		done
	done
	cat <<-JSON
		{"ociVersion": "1.0.2", "hostname": "$setting", "root": {"path": "$dir/merged", "readonly": false},
		"process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
			"args": ["$BASE/bin/bypass", "serve", "$BASE"],
			"capabilities": {"bounding": [${capabilities%,}], "effective": [${capabilities%,}], "permitted": [${capabilities%,}]}},
		"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, $mounts
			{"destination": "$BASE/given", "type": "tmpfs", "source": "given"}],
		"linux": {"namespaces": [${namespaces%,}], "cgroupsPath": "/bypass-$setting-$workload",
			$([ "$setting" = runc ] || echo '"readonlyPaths": ["/proc/sys"],')
			"resources": {"devices": $device}}}
	JSON
}
