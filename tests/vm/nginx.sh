#!/bin/bash
# A real nginx under its policy: it serves, and what an attacker inside it would try is denied.
#
#   nginx.sh PALISADE EXAMPLES (bpf|landlock)
#
# As root. nginx listens on a port of 127.0.0.1 of its own; everything it writes lies in a mount namespace of this script.
set -u
PALISADE=$1 EXAMPLES=$2 BACKEND=$3
PORT=8642
failed=0

# Nothing of the machine's own nginx is touched: its directories are ours here.
if [ "${PALISADE_DEMO_NAMESPACE:-}" != yes ]; then
	PALISADE_DEMO_NAMESPACE=yes exec unshare --mount bash "$0" "$@"
fi
WORK=$(mktemp -d)
mkdir -p "$WORK"/{log,lib/body,lib/proxy,lib/fastcgi,lib/uwsgi,lib/scgi,etc,www}
cp -a /etc/nginx/. "$WORK/etc/"
rm -f "$WORK"/etc/sites-enabled/* "$WORK"/etc/conf.d/*
cat >"$WORK/etc/conf.d/demo.conf" <<-CONF
	server { listen 127.0.0.1:$PORT; root /var/www; }
CONF
echo "served by nginx under Palisade" >"$WORK/www/index.html"
chmod -R a+rX "$WORK"
for pair in etc:/etc/nginx log:/var/log/nginx lib:/var/lib/nginx www:/var/www; do
	mkdir -p "${pair#*:}"
	mount --bind "$WORK/${pair%%:*}" "${pair#*:}" || exit 1
done
touch /run/nginx.pid # Landlock grants what exists at the start

say() { printf '\n--- %s\n' "$*"; }
check() { # TEXT COMMAND...
	local text=$1
	shift
	if "$@"; then echo "ok   $text"; else
		echo "FAIL $text"
		failed=1
	fi
}
fetch() { # prints the page; bash alone, since a guest has no curl
	timeout 5 bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3" | tail -n 1
}
wait_for_page() {
	for _ in $(seq 300); do
		[ "$(fetch 2>/dev/null)" = "served by nginx under Palisade" ] && return 0
		sleep 0.2
	done
	return 1
}
denied() { ! "$@" >/dev/null 2>"$WORK/said"; }
told() { # PATTERN: Landlock's denials are told by the kernel's audit log alone
	if [ "$BACKEND" = bpf ]; then check "  and told" grep -qE "$1" "$WORK/events"; fi
}

say "palisade run --enforcer $BACKEND --policy nginx.yaml -- nginx -g 'daemon off;'"
"$PALISADE" run --enforcer "$BACKEND" --policy "$EXAMPLES/nginx.yaml" -- /usr/sbin/nginx -g 'daemon off;' 2>"$WORK/events" &
run=$!
check "nginx serves a page" wait_for_page
cat "$WORK/events"

# What an attacker who runs code in a container of this policy tries: the same policy, another command.
attempt() { "$PALISADE" run --quiet --enforcer "$BACKEND" --policy "$WORK/inside.yaml" -- "$@" 2>>"$WORK/events"; }
# The policy of nginx, and a shell to try from: as if nginx itself were made to run these calls.
sed -e 's#- path: /usr/sbin/nginx#- path: /usr/sbin/nginx\n      action: Allow\n    - path: /usr/bin/perl#' "$EXAMPLES/nginx.yaml" >"$WORK/inside.yaml"
say "from inside: a shell, a read of /etc/shadow, a raw socket, a write of the configuration"
check "a shell is denied" denied attempt /usr/bin/perl -e 'exec("/bin/sh", "-c", "true") or exit 1'
told 'Block +exec .*/usr/bin/dash'
check "/etc/shadow is denied" denied attempt /usr/bin/perl -e 'open(F, "<", "/etc/shadow") or exit 1'
told 'Block +read .*/etc/shadow'
check "a raw socket is denied" denied attempt /usr/bin/perl -e 'socket(S, 2, 3, 1) or exit 1'
told 'Block +socket .*SOCK_RAW'
check "a write of nginx.conf is denied" denied attempt /usr/bin/perl -e 'open(F, ">>", "/etc/nginx/nginx.conf") or exit 1'
told 'Block +(write|append).*/etc/nginx/nginx.conf'
check "what the policy allows works from there as well" attempt /usr/bin/perl -e 'open(F, "<", "/etc/nginx/nginx.conf") or exit 1'
check "nginx still serves" wait_for_page

if [ "$BACKEND" = bpf ]; then
	say "the denials as Palisade told them"
	grep -E "^[0-9:.]+ +Block" "$WORK/events"
	check "nothing of nginx itself was denied" test "$(grep -cE '^[0-9:.]+ +Block.*/usr/sbin/nginx' "$WORK/events")" = 0
fi
kill -TERM $run
wait $run
check "SIGTERM ends nginx, and its exit code is the run's" test $? = 0
rm -rf "$WORK/said"
[ $failed = 0 ]
