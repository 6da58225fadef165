#!/bin/bash
# Opens judged while their paths and their table change (opens.c). As root in a VM that may be broken, in /payload.
#
#   stress.sh ext4|overlay OPENS     every judged open must have the right verdict
#   stress.sh controls               each part of the cache's key left out in turn: some verdict must be wrong
set -u

unmount_below() { # DIRECTORY
	awk '{ print $5 }' /proc/self/mountinfo | grep "^$1/" | tac | xargs -r umount -l
}

# KEY_* of crates/bpf/src/c/open.h, a mover that makes its lack show, the part's name. With that mover alone the openers
# do nothing else; where it is empty they do everything.
controls="1::inode 2::mount 4::namespace 8:t:table 16:d:moves 32:M:mounts 64:r:deaths 128:m:name 256::file-system
	512::entry-of-a-name 1024::text-of-a-name"

case $1 in
ext4 | overlay)
	base=/var/opens
	if [ "$1" = overlay ]; then
		mkdir -p /var/stacked/{lower,upper,work,merged}
		mount -t overlay -o lowerdir=/var/stacked/lower,upperdir=/var/stacked/upper,workdir=/var/stacked/work none \
			/var/stacked/merged || exit 1
		base=/var/stacked/merged/opens
	fi
	./opens ./stress-opens $base "$2"
	code=$?
	unmount_below $base
	exit $code
	;;
controls)
	failed=0
	for control in $controls; do
		IFS=: read -r key movers name <<<"$control"
		base=/var/without-$name
		# Rare ones need some opens; what ends at the first wrong verdict is over at once.
		said=$(PALISADE_WITHOUT=$key OPENS_UNTIL_WRONG=1 ./opens-controls ./stress-opens "$base" 100000 ${movers:+"$movers"} 2>&1)
		wrong=$(sed -n 's/^judged \([0-9]*\) .* wrongly-allowed \([0-9]*\) .*/\2 wrongly allowed of \1/p' <<<"$said")
		unmount_below "$base"
		case $wrong in
		"" | "0 "*)
			echo "FAIL without the $name nothing was wrongly allowed: ${wrong:-$said}"
			failed=1
			;;
		*) echo "ok without the $name: $wrong" ;;
		esac
	done
	exit $failed
	;;
esac
