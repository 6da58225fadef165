#!/bin/bash
# Policies that Palisade learns by itself: each piece of work is watched, and then done again under what was learned. The
# second time nothing may be denied, and what the work never did must be.
#
#   learn.sh PALISADE [WORK...]     works: tools, python, net, nginx, files (all)
#   PALISADE_LEARN_WITH=tracepoints watches by those, and does the work again under BPF-LSM all the same
#
# As root, under BPF-LSM. Everything it writes lies in directories of its own. One run is kept alive throughout, because
# loading the programs takes most of a minute in an emulated machine.
set -u
PALISADE=$1
WORKS=${*:2}
PORT=8643
WITH=${PALISADE_LEARN_WITH:-bpf}
failed=0

if [ "${PALISADE_LEARN_NAMESPACE:-}" != yes ]; then
	PALISADE_LEARN_NAMESPACE=yes exec unshare --mount bash "$0" "$@"
fi
WORK=$(mktemp -d)
OUT=${PALISADE_LEARN_OUT:-$WORK/out}
mkdir -p "$OUT"

say() { printf '\n--- %s\n' "$*"; }
check() { # TEXT COMMAND...
	local text=$1
	shift
	if "$@"; then echo "ok   $text"; else
		echo "FAIL $text"
		failed=1
	fi
}
no() { ! "$@"; }
wanted() { [ -z "$WORKS" ] || [[ " $WORKS " == *" $1 "* ]]; }
# NAME PATH LINES PATTERN: the rule for PATH has PATTERN among the lines that follow.
rule_text() { grep -qxF -- "$2" "$OUT/$1.yaml"; }
rule() { grep -x -A "$3" -E -- "    - (path|dir): $2" "$OUT/$1.yaml" | grep -qF -- "$4"; }

hold() {
	cat >"$WORK/hold.yaml" <<-POLICY
	apiVersion: security.kubearmor.com/v1
	kind: KubeArmorPolicy
	metadata: { name: hold }
	spec: { selector: {}, file: { matchPaths: [ { path: /nothing/of/the/kind } ] }, action: Audit }
	POLICY
	"$PALISADE" run --enforcer bpf --policy "$WORK/hold.yaml" -- /usr/bin/sleep infinity 2>"$WORK/hold" &
	holder=$!
	trap 'kill $holder; wait $holder 2>/dev/null' EXIT
	for _ in $(seq 1200); do
		grep -q enforcing "$WORK/hold" && return 0
		sleep 0.1
	done
	cat "$WORK/hold"
	return 1
}

# NAME VERDICT ARGUMENTS...: what `policy explain` says under the learned policy
asked() {
	"$PALISADE" policy explain "$OUT/$1.yaml" "${@:3}" >"$OUT/$1.asked"
	grep -q "^$2" "$OUT/$1.asked" || { cat "$OUT/$1.asked"; return 1; }
}

# NAME DRIVER COMMAND...: DRIVER runs beside the command, with its process number, until it has done its part.
twice() {
	local name=$1 driver=$2
	shift 2
	say "$name: $*"
	rm -f "$OUT/$name".*
	# Told: the work itself has to come to the same end both times.
	watch "$driver" "$PALISADE" run --learn "$OUT/$name.yaml" --learn-with "$WITH" --tests --name "$name" -- "$@" 2>"$OUT/$name.learn"
	check "$name: it was watched, and did its work" test $? = 0
	cat "$OUT/$name.learn"
	check "$name: nothing was lost" no grep -q ' lost' "$OUT/$name.learn"
	check "$name: all that was seen is in it" no grep -q 'not in it' "$OUT/$name.learn"
	"$PALISADE" policy check "$OUT/$name.yaml" >"$OUT/$name.check"
	check "$name: its policy has no errors" test $? = 0
	"$PALISADE" policy test "$OUT/$name.test.yaml" >"$OUT/$name.tested"
	check "$name: its tests pass" test $? = 0
	tail -n 1 "$OUT/$name.tested"
	watch "$driver" "$PALISADE" run --enforcer bpf --policy "$OUT/$name.yaml" --name "$name" -- "$@" 2>"$OUT/$name.run"
	check "$name: the same again under its policy comes to the same end" test $? = 0
	check "$name: and nothing is denied" grep -q 'nothing was denied' "$OUT/$name.run"
	grep -E 'Block |denied' "$OUT/$name.run"
	# Another program, under the same policy: the kernel must refuse the exec.
	"$PALISADE" run --quiet --enforcer bpf --policy "$OUT/$name.yaml" -- /usr/bin/tac /etc/shadow >"$OUT/$name.tac" 2>&1
	check "$name: what it never ran is denied" no test $? = 0
	check "$name: and told" grep -q 'Block .*/usr/bin/tac' "$OUT/$name.tac"
}
watch() { # DRIVER COMMAND...
	local driver=$1 run
	shift
	fresh
	"$@" &
	run=$!
	"$driver" $run || { kill $run; wait $run; return 99; }
	wait $run
}
alone() { :; }
# The same work is the same only from the same beginning: a log that is there already takes other rights than a new one.
fresh() { rm -f "$WORK"/log/*; }

check "the programs are loaded" hold
python=$(readlink -f "$(command -v python3 || command -v python3.11)")

# --- a shell script that calls ten tools
if wanted tools; then
cat >"$WORK/tools.sh" <<'SCRIPT'
#!/bin/sh
set -e
dir=$(mktemp -d)
cd "$dir"
seq 1 50 >numbers
sort -rn numbers | head -n 5 | tr '\n' ' ' >top
grep -c 1 numbers >count
sed -e 's/1/one/g' numbers >words
cut -c1 numbers | uniq -c | wc -l >groups
cp numbers copy
mv copy moved
ln -s moved link
cat link >/dev/null
date >now
ls -l >listing
chmod 600 moved
touch now
id -un >who
rm -r "$dir"
SCRIPT
chmod +x "$WORK/tools.sh"
twice tools alone "$WORK/tools.sh"
check "tools: the shell is allowed for the script" rule tools /usr/bin/dash 2 "- path: $WORK/tools.sh"
check "tools: each of them for the shell" rule tools /usr/bin/sed 2 "- path: /usr/bin/dash"
check "tools: the temporary directory is a pattern" grep -qF 'pattern: /tmp/tmp.*' "$OUT/tools.yaml"
fi

# --- python with modules
if wanted python; then
cat >"$WORK/work.py" <<'SCRIPT'
import argparse, ast, base64, csv, dataclasses, hashlib, json, logging, os, random, re, socket, subprocess, tempfile, zlib
import email.message, html.parser, http.client, urllib.parse, xml.etree.ElementTree, zipfile
with tempfile.TemporaryDirectory() as d:
    name = os.path.join(d, "data.json")
    with open(name, "w") as f:
        json.dump({"a": hashlib.sha256(b"x").hexdigest()}, f)
    with open(name) as f:
        json.load(f)
    with zipfile.ZipFile(os.path.join(d, "a.zip"), "w") as z:
        z.write(name)
assert subprocess.run(["/usr/bin/uname", "-s"], capture_output=True).stdout == b"Linux\n"
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); c = socket.create_connection(s.getsockname()); c.close()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
SCRIPT
twice python alone "$python" "$WORK/work.py"
check "python: its library is one rule" grep -qE 'dir: /usr/lib/python3[^/]*/$' "$OUT/python.yaml"
fi

# --- a client and a server on loopback, and what needs capabilities
if wanted net; then
cat >"$WORK/net.py" <<'SCRIPT'
import os, socket, tempfile
def serve(server):
    """One process serves, another asks, over whatever kind of socket."""
    if os.fork() == 0:
        client = socket.socket(server.family, server.type)
        client.settimeout(20)
        client.connect(server.getsockname())
        client.send(b"ping")
        os._exit(0 if client.recv(4) == b"pong" else 1)
    server.settimeout(20)
    if server.type == socket.SOCK_STREAM:
        other = server.accept()[0]
        assert other.recv(4) == b"ping"
        other.send(b"pong")
    else:
        data, client = server.recvfrom(4)
        assert data == b"ping"
        server.sendto(b"pong", client)
    assert os.wait()[1] == 0
serve(socket.create_server(("127.0.0.1", 8644)))
serve(socket.create_server(("::1", 8644), family=socket.AF_INET6))
serve(socket.create_server(("127.0.0.1", 0)))
for place in ("127.0.0.1", 54), ("127.0.0.1", 0):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(place)
    serve(server)
with tempfile.NamedTemporaryFile() as file:
    os.chown(file.name, 33, 33)
SCRIPT
twice net alone "$python" "$WORK/net.py"
check "net: the server's port is its own" asked net Allow --bind 127.0.0.1:8644
check "net: over IPv6 as well" asked net Allow --connect '[::1]:8644'
check "net: a port of the kernel's choice is any of its choice" asked net Allow --connect 127.0.0.1:45678
check "net: datagrams have ends of their own" asked net Allow --bind 127.0.0.1:54 --protocol udp
check "net: and not those of streams" asked net Block --bind 127.0.0.1:54
check "net: another port is closed" asked net Block --connect 127.0.0.1:8645
check "net: and another address" asked net Block --connect 10.0.0.5:8644
check "net: and to listen everywhere" asked net Block --bind 0.0.0.0:8644
if grep -q '^#   unseen    capabilities' "$OUT/net.yaml"; then
	capabilities=
	echo "told net: this kernel has no tracepoint for capabilities; they are left open"
	check "net: they are in no rule then" no rule_text net "  capabilities:"
else
	capabilities="denied(1, os.setgid, 33)"
	check "net: chown is in it" rule_text net "    - capability: chown"
	check "net: and the port below 1024" rule_text net "    - capability: net_bind_service"
fi
else=$(cat <<'SCRIPT'
import os, socket
def denied(number, call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        assert error.errno == number, error
        return
    raise AssertionError((call, arguments))
def stream():
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
stream().bind(("127.0.0.1", 8644))
denied(13, stream().connect, ("127.0.0.1", 8645))
denied(13, stream().bind, ("0.0.0.0", 8644))
denied(13, socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)
SCRIPT
)
else+=$'\n'$capabilities
"$PALISADE" run --enforcer bpf --policy "$OUT/net.yaml" -- "$python" -c "$else" 2>"$OUT/net.else" # a file of it would be denied
check "net: what was not seen is denied by the kernel" test $? = 0
for denied in 'Block .*connect .*127.0.0.1:8645' 'Block .*bind .*0.0.0.0:8644' ${capabilities:+'Block .*capability .*CAP_SETGID'}; do
	check "net: and told: $denied" grep -qE "$denied" "$OUT/net.else"
done
[ $failed = 0 ] || cat "$OUT/net.else"
fi

# --- nginx, reloaded while it serves
if wanted nginx; then
mkdir -p "$WORK"/{log,lib/body,lib/proxy,lib/fastcgi,lib/uwsgi,lib/scgi,etc,www}
cp -a /etc/nginx/. "$WORK/etc/"
rm -f "$WORK"/etc/sites-enabled/* "$WORK"/etc/conf.d/*
printf 'server { listen 127.0.0.1:%s; root /var/www; }\n' $PORT >"$WORK/etc/conf.d/learn.conf"
echo "a page" >"$WORK/www/index.html"
mkdir -p "$WORK/etc/tls"
echo "a key" >"$WORK/etc/tls/site.key"
chmod -R a+rX "$WORK"
for pair in etc:/etc/nginx log:/var/log/nginx lib:/var/lib/nginx www:/var/www; do
	mkdir -p "${pair#*:}"
	mount --bind "$WORK/${pair%%:*}" "${pair#*:}" || exit 1
done
rm -f /run/nginx.pid
fetch() {
	timeout 5 bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3" 2>/dev/null | tail -n 1
}
page() {
	for _ in $(seq 50); do
		[ "$(fetch)" = "a page" ] && return 0
		sleep 0.2
	done
	return 1
}
serve() { # the process number of palisade, which passes signals on
	page || return 1
	kill -HUP "$1"
	sleep 2
	page && page && page || return 1
	kill -USR1 "$1" # logs are opened anew
	sleep 1
	page || return 1
	kill -TERM "$1"
}
if [ -x /usr/sbin/nginx ]; then
	twice nginx serve /usr/sbin/nginx -g 'daemon off;'
	check "nginx: its key, which it never read, is not opened" asked nginx Block --read /etc/nginx/tls/site.key --from /usr/sbin/nginx
	check "nginx: it may listen where it did" asked nginx Allow --bind 127.0.0.1:$PORT
	check "nginx: and nowhere else" asked nginx Block --bind 0.0.0.0:80
	check "nginx: its pages cannot be written" rule nginx /var/www/index.html 1 "readOnly: true"
else
	echo "FAIL nginx: this machine has none"
	failed=1
fi
fi

# --- it does not overwrite, and the exit code is the command's
if wanted files; then
say "what is there, and exit codes"
echo kept >"$OUT/kept.yaml"
"$PALISADE" run --learn "$OUT/kept.yaml" -- /bin/true 2>/dev/null
check "a file that is there is refused" test $? = 2
check "and kept" grep -qx kept "$OUT/kept.yaml"
"$PALISADE" run --learn "$OUT/kept.yaml" --force --quiet -- /bin/sh -c 'exit 7'
check "the exit code is the command's" test $? = 7
check "with --force it is replaced" grep -q KubeArmorPolicy "$OUT/kept.yaml"
"$PALISADE" run --learn "$OUT/interrupted.yaml" -- /usr/bin/sleep 1000 2>"$OUT/interrupted.learn" &
run=$!
for _ in $(seq 100); do
	grep -q learning "$OUT/interrupted.learn" && break
	sleep 0.2
done
sleep 1
kill -TERM $run # bash starts jobs that ignore SIGINT
wait $run
check "a signal is passed on" test $? = 143
check "and the policy is written all the same" grep -q 'path: /usr/bin/sleep' "$OUT/interrupted.yaml"
fi

# --- by tracepoints, on a kernel that could do better: the same work, and BPF-LSM finds nothing to deny
if [ -z "$WORKS" ] && [ "$WITH" = bpf ]; then
	say "watched by tracepoints"
	PALISADE_LEARN_WITH=tracepoints bash "$0" "$PALISADE" tools net
	check "what tracepoints teach is enough" test $? = 0
fi
[ $failed = 0 ]
