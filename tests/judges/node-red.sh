#!/usr/bin/env bash
# Compares membrana with Node-RED per CPU second: the plan asks for five times as many events. Exit 1 where it is less.
#
#   bash tests/judges/node-red.sh [path of membrana]     (default target/release/membrana; EVENTS, CLIENTS, NODE_RED: size, connections, version)
#
# Both are sent the same JSON event by HTTP on loopback, judge it and write down what came of it, until the last is through.
# What counts is CPU time, user and system, of their process and its threads, from the first event to the last.
#   Node-RED: HTTP in -> function (language) -> function (sentiment) -> function (rule) -> file append, no fsync.
#   membrana: /hooks -> touchpoint -> language and sentiment -> impact-table, all in Wasm; fsync before the 2xx, results and
#             decisions durable. Signatures are off, for Node-RED checks none either.
# The load is bounded: so many connections, each waits for its answer. It is not counted, but shares the machine.
# Not part of `membrana bench`: it fetches Node-RED by npm, into a folder that is removed at the end.
#
# Measured on two cores, quiet: Node-RED 407 to 446 us an event, membrana 95 to 96 us: 4.2 to 4.7 times, under the bar. Of membrana's a
# fifth is HTTP, a fifth the guests, a tenth sled's I/O threads (each write wakes all seven), a seventh allocations. With 64 connections
# it is 107 us, for fewer wait for one sync; fat LTO (10 minutes to build) brings 6 of a hundred.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
MEMBRANA=$(realpath -m "${1:-$ROOT/target/release/membrana}")
EVENTS=${EVENTS:-40000}
CLIENTS=${CLIENTS:-256}
NODE_RED=${NODE_RED:-4.1.8}
BAR=5

[ -x "$MEMBRANA" ] || { echo "$MEMBRANA is missing: cargo build --release" >&2; exit 2; }
for tool in node npm python3; do command -v "$tool" >/dev/null || { echo "$tool is missing" >&2; exit 2; }; done
WORK=$(mktemp -d)
PIDS=()
clean() {
  for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
  rm -rf "$WORK"
}
trap clean EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

until_open() {
  for _ in $(seq 300); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    sleep 0.2
  done
  echo "nothing listens on $1" >&2; exit 1
}

# CPU time of a process so far, in clock ticks.
ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

# load PORT PATH FROM: EVENTS posts over CLIENTS connections, each of which waits for its answer; ends when all are answered with a 2xx.
# One thread that waits for whichever answers: it costs little, so that who is judged is never idle.
load() {
  python3 - "$1" "$2" "$3" "$EVENTS" "$CLIENTS" <<'PY'
import json, selectors, socket, sys
port, path, start, events, clients = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
TEXTS = [
    "Ho pagato due volte la bolletta di novembre e nessuno mi risponde al telefono da tre settimane, è davvero una vergogna. Vorrei il rimborso subito, altrimenti passo alla concorrenza insieme a tutta la mia famiglia.",
    "The new app is really great and the support team was very friendly when I called yesterday, but the invoice still shows the wrong address and I do not know where I can change it. Could you please have a look at it?",
]
def request(n):
    body = json.dumps({"id": f"event-{start + n}", "note": TEXTS[n % 2], "by": f"user-{n % 500}"})
    return f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
def is_whole(answer):
    head, found, body = answer.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:]) if found else {}
    return found and len(body) >= int(fields.get(b"content-length", 0))
links, requests, n_answered, wrong = selectors.DefaultSelector(), map(request, range(events)), 0, []
def ask(link):
    asked = next(requests, None)
    link.sendall(asked) if asked else links.unregister(link)
for _ in range(min(clients, events)):
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    links.register(link, selectors.EVENT_READ, bytearray())
    ask(link)
while n_answered < events:
    for key, _ in links.select(timeout=60) or sys.exit("no answer for a minute"):
        came = key.fileobj.recv(1 << 16) or sys.exit("a connection was closed")
        key.data.extend(came)
        if is_whole(bytes(key.data)):
            if key.data[9:10] != b"2":
                wrong.append(bytes(key.data[:15]).decode())
            key.data.clear()
            n_answered += 1
            ask(key.fileobj)
sys.exit(f"{len(wrong)} answers were no 2xx, such as {wrong[0]}" if wrong else 0)
PY
}

# --- Node-RED ---------------------------------------------------------------------------------------------------------------
echo "installing Node-RED $NODE_RED ..." >&2
(cd "$WORK" && npm init -y >/dev/null && npm install --no-audit --no-fund --loglevel=error "node-red@$NODE_RED" >/dev/null)
PORT=$(free_port)
cat > "$WORK/flows.json" <<JSON
[{"id":"n-tab","type":"tab","label":"bench"},
 {"id":"n-in","type":"http in","z":"n-tab","url":"/event","method":"post","wires":[["n-language"]]},
 {"id":"n-language","type":"function","z":"n-tab","outputs":1,"wires":[["n-sentiment"]],"func":"const words = msg.payload.note.toLowerCase().split(/[^\\\\p{L}]+/u); const it = new Set(['il','la','di','che','e','non','un','per','mi','da']); const en = new Set(['the','of','and','to','is','i','it','was','my','very']); let a = 0, b = 0; for (const w of words) { if (it.has(w)) a++; if (en.has(w)) b++; } msg.words = words; msg.language = a > b ? 'it' : 'en'; return msg;"},
 {"id":"n-sentiment","type":"function","z":"n-tab","outputs":1,"wires":[["n-rule"]],"func":"const lexicon = new Map([['vergogna',-3],['rimborso',-1],['great',3],['friendly',2],['wrong',-2],['please',1],['davvero',0.3],['really',0.3]]); let sum = 0; for (const w of msg.words) sum += lexicon.get(w) || 0; msg.sentiment = sum / Math.sqrt(sum * sum + 15); return msg;"},
 {"id":"n-rule","type":"function","z":"n-tab","outputs":1,"wires":[["n-file","n-answer"]],"func":"const event = msg.payload; msg.payload = JSON.stringify({ id: event.id, language: msg.language, sentiment: msg.sentiment, row: msg.sentiment < -0.2 ? 'complaint' : 'everything else', at: Date.now(), note: event.note }); msg.statusCode = 202; return msg;"},
 {"id":"n-file","type":"file","z":"n-tab","filename":"$WORK/out.jsonl","filenameType":"str","appendNewline":true,"overwriteFile":"false","encoding":"none","wires":[[]]},
 {"id":"n-answer","type":"http response","z":"n-tab","statusCode":"","headers":{},"wires":[]}]
JSON
cat > "$WORK/settings.js" <<JS
module.exports = { uiPort: $PORT, uiHost: "127.0.0.1", flowFile: "$WORK/flows.json", userDir: "$WORK", httpAdminRoot: false, logging: { console: { level: "error" } } };
JS
node "$WORK/node_modules/node-red/red.js" --settings "$WORK/settings.js" >"$WORK/node-red.log" 2>&1 &
NODE=$!
PIDS+=("$NODE")
until_open "$PORT"
echo "driving Node-RED ..." >&2
EVENTS=2000 load "$PORT" /event 0      # the JIT warms up
BEFORE=$(ticks "$NODE")
load "$PORT" /event 1000000
for _ in $(seq 300); do [ "$(wc -l < "$WORK/out.jsonl")" -ge $((EVENTS + 2000)) ] && break; sleep 0.2; done
[ "$(wc -l < "$WORK/out.jsonl")" -ge $((EVENTS + 2000)) ] || { echo "Node-RED lost events" >&2; exit 1; }
NODE_TICKS=$(( $(ticks "$NODE") - BEFORE ))
kill "$NODE"; wait "$NODE" 2>/dev/null || true

# --- membrana ---------------------------------------------------------------------------------------------------------------
PORT=$(free_port)
mkdir "$WORK/host"
cat > "$WORK/host/membrana.toml" <<TOML
[host]
listen = "127.0.0.1:$PORT"
[[channel]]
name = "shop"
plugin = "touchpoint"
config = { kind = "review", id = "/id", text = "/note", author_id = "/by" }
ingress = { verify = "none" }
[[analyzer]]
name = "language"
plugin = "language"
[[analyzer]]
name = "sentiment"
plugin = "sentiment"
after = ["language"]
[[rule]]
name = "impact"
plugin = "impact-table"
config = { table_file = "impact.toml" }
[[team]]
name = "support"
TOML
cat > "$WORK/host/impact.toml" <<TOML
version = "1"
[[row]]
name = "complaint"
when = { sentiment = { max = -0.2 } }
[[row]]
name = "everything else"
TOML
(cd "$WORK/host" && exec "$MEMBRANA" run >"$WORK/membrana.log" 2>&1) &
HOST=$!
PIDS+=("$HOST")
until_open "$PORT"
# How many interactions have their decisions: the newest is decided last, for entries of a channel are decided in order.
decided() { (cd "$WORK/host" && "$MEMBRANA" interaction list --json --limit 1) | python3 -c 'import json, sys; line = sys.stdin.readline(); one = json.loads(line or "{}"); print(one.get("revision", 0) if one.get("decisions") else 0)'; }
until_decided() {
  for _ in $(seq 600); do [ "$(decided)" -ge "$1" ] && return; sleep 0.5; done
  echo "membrana decided $(decided) of $1" >&2; tail -5 "$WORK/membrana.log" >&2; exit 1
}
echo "driving membrana ..." >&2
EVENTS=2000 load "$PORT" /hooks/shop 0
until_decided 2000
BEFORE=$(ticks "$HOST")
load "$PORT" /hooks/shop 1000000
until_decided $((EVENTS + 2000))
HOST_TICKS=$(( $(ticks "$HOST") - BEFORE ))

python3 - "$EVENTS" "$(getconf CLK_TCK)" "$NODE_TICKS" "$HOST_TICKS" "$BAR" <<'PY'
import sys
events, hertz, node, host, bar = (float(word) for word in sys.argv[1:])
us = lambda ticks: ticks / hertz * 1e6 / events
print(f"Node-RED {us(node):.0f} us of CPU an event, membrana {us(host):.0f} us: {node / host:.2f} times as many events per CPU second (bar: {bar:.0f})")
sys.exit(0 if node / host >= bar else 1)
PY
