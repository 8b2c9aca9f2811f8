# shellcheck shell=bash disable=SC2154,SC2034 # `quickstart` sources this and has what is not defined here
# The way of `deploy/quickstart --nodes N`: a cluster of N nodes and an etcd of three members on this machine, whose data outlive the
# loss of a node. quickstart gives members, build, cairn, base, trees, dir and its
# functions; it calls nodes_run, nodes_stop and nodes_summary.

pids=() etcds=() groups=() endpoints='' cluster_id='' killed='' role='' detected_s='' taken_over_s='' repaired_s='' stored=''

# ---- etcd ----

# free_port 0..5: below the range that the kernel gives to clients, nobody there now, and unlike those of other numbers.
free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 1600 * 6 + $1))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    fail "no free port was found"
}

# Whoever reaches etcd could change the map: one certificate, which dies with this run, lets its members and our nodes in.
start_etcd() {
    local i client=() peer=() cluster='' tls
    (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=quickstart \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$base/etcd.key" -out "$base/etcd.crt" 2>"$base/openssl.log") ||
        fail "openssl: $(cat "$base/openssl.log")"
    tls=(--client-cert-auth --trusted-ca-file "$base/etcd.crt" --cert-file "$base/etcd.crt" --key-file "$base/etcd.key"
        --peer-client-cert-auth --peer-trusted-ca-file "$base/etcd.crt" --peer-cert-file "$base/etcd.crt" --peer-key-file "$base/etcd.key")
    for i in 1 2 3; do
        client[i]=https://127.0.0.1:$(free_port $((2 * i - 2))) peer[i]=https://127.0.0.1:$(free_port $((2 * i - 1)))
        cluster+=,m$i=${peer[i]} endpoints+=,${client[i]}
    done
    endpoints=[${endpoints#,}]
    for i in 1 2 3; do
        setsid etcd --name "m$i" --data-dir "$base/etcd$i" --initial-cluster "${cluster#,}" --listen-peer-urls "${peer[i]}" \
            --initial-advertise-peer-urls "${peer[i]}" --listen-client-urls "${client[i]}" --advertise-client-urls "${client[i]}" \
            "${tls[@]}" --logger zap --log-level error </dev/null >"$base/etcd$i.log" 2>&1 &
        etcds+=($!)
    done
}

# ---- nodes ----

# at N COMMAND...: as a client of node N.
at() { local n=$1; shift; CAIRN_WORKSPACE=$sockets/ws$n "$cairn" --key "$base/cluster.key" "$@"; }

start_member() {
    setsid "$build/bin/cairnd" --data "$base/data$1" --workspace "$sockets/ws$1" --set "node.name=node$1" --set "node.cluster=$cluster_id" \
        --set "cluster.zone=host$1" --set "auth.key_file=$base/cluster.key" --set metrics.listen= --set map.store=etcd \
        --set "map.endpoints=$endpoints" --set map.timeout=60s --set "map.tls.ca=$base/etcd.crt" --set "map.tls.cert=$base/etcd.crt" \
        --set "map.tls.key=$base/etcd.key" </dev/null 2>>"$base/node$1.log" &
    pids[$1]=$!
}

# Clients first; the nodes at once, and those that hang do not outlive us; etcd last, for the nodes need it to leave in order.
nodes_stop() {
    local pid
    for pid in "${groups[@]}"; do
        kill -TERM -- "-$pid" 2>/dev/null || true
        kill -CONT -- "-$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do node=$pid; await_node; done
    for pid in "${etcds[@]}"; do kill -KILL "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    groups=() pids=() etcds=()
}

# In the background, in a process group of its own, so that it can be ended with all that it started; its number is in $!.
apart() {
    set -m
    "$@" <&0 &
    set +m
    groups+=($!)
}

# ask COMMAND...: what the first node says that runs and can tell; nothing if none can now.
ask() {
    local n said
    for n in "${!pids[@]}"; do
        said=$(at "$n" --timeout 2s "$@" 2>/dev/null) || true # what is degraded has an exit code, too
        if [ -n "$said" ]; then printf '%s\n' "$said"; return; fi
    done
}

# What the cluster, not the group at one node, says of a member: up, silent ...
state_of() { ask members --cluster | awk -v name="node$1" '$1 == name { print $2 }'; }

# How many slots of the cluster lack a replica, or one to serve them; nothing while nobody can tell, or there are none.
lacking() {
    ask --json status | awk '
        /^  "cluster": {/ { cluster = 1 }
        cluster && /^    "slots": {/ { slots = 1 }
        slots && /"all":/ { all = $2 + 0 }
        slots && /"(degraded|takeover|lost)":/ { lacking += $2 }
        slots && /^    }/ { slots = 0 }
        END { if (all > 0) print lacking + 0 }'
}

# until_says SECONDS WORD COMMAND...: asked again and again.
until_says() {
    local until=$((SECONDS + $1)) word=$2
    shift 2
    while [ $SECONDS -lt $until ]; do
        [ "$("$@" || true)" != "$word" ] || return 0
        sleep 0.02
    done
    return 1
}

# ---- the story ----

# One call lasts as long as a take-over, and on a machine that is busy with itself that may be longer than usual.
import_trees() {
    local tree prefix
    for tree in "${trees[@]}"; do
        prefix=$tree/
        [ -z "$dir" ] || prefix=
        at 1 --timeout 2m import --prefix "${prefix#/}" quickstart "$tree" || return
    done
}

# A few keys of many slots, some of which the dead node led: all are stored when all slots have somebody again.
probe() {
    at 1 --timeout 2m --quiet import --all --jobs 32 --prefix probe/ quickstart "$base/probe" &&
        since "$killed" >"$base/taken_over"
}

kill_in_the_middle() {
    local half=$((files / 2)) seen=0 pause_ms=10 import
    t=$(now)
    apart import_trees
    import=$!
    # It stands still while we look, so that a small tree has a middle, too.
    while [ "$seen" -lt "$half" ] && kill -0 "$import" 2>/dev/null; do
        sleep "$(printf '0.%03d' "$pause_ms")"
        kill -STOP -- "-$import" 2>/dev/null || break
        seen=$(at 1 ls quickstart | wc -l)
        # So long that a large tree is not looked at too often, and never so long that all of a small one could come meanwhile.
        if [ "$seen" -gt 0 ] && [ "$seen" -lt $((files / 16)) ] && [ "$pause_ms" -lt 160 ]; then pause_ms=$((2 * pause_ms)); fi
        [ "$seen" -ge "$half" ] || kill -CONT -- "-$import"
    done
    kill -0 "$import" 2>/dev/null && [ "$seen" -lt "$files" ] || seen=$files
    stored=$seen
    case $(at "$victim" --json status) in *'"coordinates": true'*) role=' (it coordinated the cluster)' ;; esac
    killed=$(now)
    { kill -KILL "${pids[victim]}" && wait "${pids[victim]}"; } 2>/dev/null || true
    unset "pids[victim]"
    kill -CONT -- "-$import" 2>/dev/null || true
    apart probe
    until_says 30 silent state_of "$victim" || fail "the loss of node $victim was not noticed"
    detected_s=$(since "$killed")
    wait "$import" || fail "the import failed"
    in_s=$(since "$t")
    wait "$!" || fail "writes did not come through without node $victim"
    taken_over_s=$(cat "$base/taken_over")
    at 1 rm --prefix quickstart probe/ >/dev/null
}

nodes_run() {
    local i victim=$members
    openssl rand -hex 32 >"$base/cluster.key"
    chmod 600 "$base/cluster.key"
    cluster_id=$(openssl rand -hex 16)
    read -r files bytes < <(find "${trees[@]}" -type f -printf '%s\n' | awk '{ n++; s += $1 } END { printf "%d %d\n", n, s }')
    mkdir "$base/probe"
    for ((i = 0; i < 64; i++)); do echo "$i" >"$base/probe/$i"; done

    step "start an etcd of three members and $members nodes"
    start_etcd
    for ((i = 1; i <= members; i++)); do start_member "$i"; done
    for ((i = 1; i <= members; i++)); do await_ready "${pids[i]}" "node $i" at "$i"; done
    run at 1 --timeout 60s ns create --replicas 2 quickstart
    # What is written before the second replica has joined has one copy.
    run at 1 wait-ready --whole --timeout 60s || fail "the nodes do not become a whole cluster: $(at 1 status)"

    step "import ${trees[*]} with two replicas, and kill node $victim with SIGKILL in the middle"
    kill_in_the_middle

    step "verify every byte while node $victim is down"
    t=$(now)
    run at 1 export quickstart "$base/out1" || fail "the export failed"
    out_s=$(since "$t")
    run same "$base/out1"

    step "start node $victim again, and wait until every slot has all its replicas"
    t=$(now)
    start_member "$victim"
    await_ready "${pids[victim]}" "node $victim" at "$victim"
    until_says 300 up state_of "$victim" || fail "node $victim is not back in the cluster"
    until_says 3600 0 lacking || # as long as what was imported takes
        fail "not all slots have all their replicas: $(at 1 status)"
    repaired_s=$(since "$t")

    step "verify every byte once more, from node $victim"
    run at "$victim" export quickstart "$base/out2" || fail "the export after the repair failed"
    run same "$base/out2"
    total_s=$(since "$began")
}

nodes_summary() {
    cat <<END

Everything came back, byte by byte, while a node was down and after it was repaired; no import and no write failed.
  objects    $files
  bytes      $bytes ($((bytes / 1048576)) MiB), twice
END
    cat <<END
  in         $(rate "$bytes" "$in_s") MiB/s ($in_s s, the loss of the node included)
  killed     when $stored of $files objects were stored$([ "$stored" -lt "$files" ] || echo ': too late, a larger tree has a middle')
  out        $(rate "$bytes" "$out_s") MiB/s ($out_s s, while the node was down)
  detection  $detected_s s from SIGKILL until the cluster's status says that the node is silent$role; 1 to 2 s are usual
  take-over  $taken_over_s s from SIGKILL until keys that it led are written again; below 5 s is usual: first its lease ends (4 s)
  repair     $repaired_s s from the start of the node until every slot has all its replicas
  time       $total_s s
  data       removed; nodes and etcd have ended

To go on:
  deploy/jobs/cairn-local --nodes $members --bin $(printf %q "$build/bin") -- bash
                          a cluster like this one, as long as that shell runs; in it, for example,
                          cairn ns create --replicas 2 mine && cairn import mine deploy && cairn top
                          cairn members --cluster; cairn where mine quickstart; cairn drain --wait node1; cairn map --log
  deploy/examples/three-nodes/README.md
                          one that stays, on hosts of its own
END
}
