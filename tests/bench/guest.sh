#!/bin/sh
# Measures, inside the guest, what `cargo xtask bench` planned.
#
#   guest.sh PLAN [OPERATION ...]
#
# A line of the plan is a step; files are those of /payload:
#
#   bare NAME                   bench, outside of every run, in the root cgroup
#   in-cgroup NAME              bench, outside of every run, in a cgroup like that of a run
#   watch                       from here on somebody watches a directory of the root file system by inotify
#   hold POLICY                 from here on a run of something else keeps the programs attached
#   palisade NAME POLICY WORDS  bench, under `palisade run` with these options besides
#   drop                        ends what `hold` began
#   apparmor NAME PROFILE SECS  bench, under an AppArmor profile, if its parser takes no longer
#
# Reports on the console, one line for each figure: `bench: NAME KEY VALUE`. The keys are bench's operations, and
#   opens N        opens that bench made besides, to show that they are seen
#   runs N         by how much the run count of the program pal_file_open grew meanwhile (`absent`: not loaded)
#   label WORDS    AppArmor's label of the process
#   parser S       AppArmor's parser, in seconds of processor time: thousands of millions of instructions
#   failed WORDS   the step gave no result
plan=$1
shift
go=/tmp/bench-go said=/tmp/bench-said
stats=/proc/sys/kernel/bpf_stats_enabled
# As deep as the cgroup of a run. The first one with a memory controller makes the kernel account for memory everywhere,
# so it is made before anything is measured.
cgroup=/sys/fs/cgroup/bench/run

say() {
    echo "bench: $*"
}

# How often the program on file_open has run since statistics were switched on. bpftool opens a few files itself.
runs() {
    count=$(bpftool -j prog show name pal_file_open 2>/dev/null | sed -n 's/.*"run_cnt":\([0-9]*\).*/\1/p')
    if [ -z "$count" ] && bpftool -j prog show name pal_file_open 2>/dev/null | grep -q pal_file_open; then
        count=0
    fi
    echo "${count:-absent}"
}

# prove NAME: has bench make its further opens, with statistics on. Only now: they cost instructions themselves.
prove() {
    if [ "$(runs)" = absent ]; then
        say "$1 runs absent"
        echo >&3
        return
    fi
    echo 1 >$stats
    before=$(runs)
    echo >&3
    read -r _ opens <&4
    after=$(runs)
    echo 0 >$stats
    say "$1 opens $opens"
    say "$1 runs $((after - before))"
}

# measure NAME OPERATIONS COMMAND...: runs bench by COMMAND.
measure() {
    name=$1 operations=$2
    shift 2
    rm -f $go $said
    mkfifo $go $said
    # shellcheck disable=SC2086 # words
    "$@" /b/bench $operations <$go >$said 2>/tmp/bench-errors &
    exec 3>$go 4<$said
    while read -r key value <&4; do
        case $key in
        measured)
            [ -n "$labelled" ] && say "$name label $(cat "/proc/$(pidof bench)/attr/current")"
            prove "$name"
            ;;
        proved) ;;
        *) say "$name $key $value" ;;
        esac
    done
    exec 3>&- 4<&-
    wait $! || say "$name failed $(tail -n 3 /tmp/bench-errors | tr '\n' ' ')"
}

prepare() {
    mkdir -p /b $cgroup
    cp bench child /b
    cp /bin/sleep /b/bench-hold
    chmod 755 /b/bench /b/child /b/bench-hold palisade
    for file in /b/aaaaaaaa/bbbbbbbb \
        /usr/lib/python3/dist-packages/bench/module_bbb/file_cccc.so \
        /var/lib/containers/overlay/aaaaaaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/cccccccccccccccccccccccccc/dddddddddddddddddddddd/eeeeeeeeeeeeeeeeeeeeeeeeee/ffffffffffffffff/ggggggggggg/h.so \
        /var/lib/deep/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/file_cccc.so \
        /srv/early/renamed /srv/early/moved/file \
        /srv/early/python3/dist-packages/bench/module_b/file_earl.so \
        /srv/denied/file /tmp/bench-data; do
        mkdir -p "${file%/*}"
        echo x >$file
    done
    sync
}

# The first watch on a file system makes every open and close on it dearer, for everybody: the kernel then looks whether
# the file's directory is a watched one.
watch() {
    mkdir -p /srv/watched
    echo x >/srv/watched/file
    tail --follow=name --lines=0 /srv/watched/file >/dev/null 2>&1 </dev/null &
    watcher=$!
    until grep -qs '^inotify wd:' /proc/$watcher/fdinfo/*; do
        kill -0 $watcher 2>/dev/null || {
            say watch failed tail ended
            exit 1
        }
        sleep 0.1
    done
}

hold() {
    ./palisade run --quiet --enforcer bpf --policy "$1" -- /b/bench-hold 1000000 </dev/null &
    holder=$!
    # The programs are there once the command itself runs.
    until pidof bench-hold >/dev/null; do
        kill -0 $holder 2>/dev/null || {
            say hold failed the holding run ended
            exit 1
        }
        sleep 0.5
    done
}

# The limit is one of processor time: the guest's clock runs ahead while it waits for its disk.
under_apparmor() {
    # shellcheck disable=SC2016 # for the inner shell
    bash -c 'ulimit -t "$2" && TIMEFORMAT=%U && { time apparmor_parser --replace --skip-cache "$1" \
        </dev/null 2>/tmp/bench-errors; } 2>/tmp/bench-time' bash "$2" "$3"
    code=$?
    if [ $code -ne 0 ]; then
        [ $code -ge 128 ] && echo "stopped after $3 s" >/tmp/bench-errors
        say "$1 failed apparmor_parser: exit code $code, $(tail -n 1 /tmp/bench-errors)"
        return
    fi
    say "$1 parser $(cat /tmp/bench-time)"
    labelled=yes
    measure "$1" "$all" aa-exec -p bench --
    labelled=
    apparmor_parser --remove "$2"
}

prepare
all="$*" labelled=
while read -r step first second third; do
    case $step in
    bare) measure "$first" "$all" env ;;
    in-cgroup)
        # shellcheck disable=SC2016 # for the inner shell
        measure "$first" "$all" sh -c 'echo $$ >'$cgroup'/cgroup.procs && exec "$@"' sh
        ;;
    watch) watch ;;
    hold) hold "$first" ;;
    palisade)
        # shellcheck disable=SC2086 # words
        measure "$first" "$all" ./palisade run --quiet --enforcer bpf --policy "$second" $third --
        ;;
    drop)
        kill $(pidof bench-hold)
        wait $holder
        ;;
    apparmor) under_apparmor "$first" "$second" "$third" ;;
    esac
done <"$plan"
say end reached
