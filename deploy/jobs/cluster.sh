# shellcheck shell=bash disable=SC2154,SC2034 # the scripts that source this set `self`; `member` reads what is declared
# What the job scripts (cairn-local, cairn-mpirun, cairn-slurm) share: options, the directory that a job's hosts meet in, waiting, the
# application, and the end. A script sets `self`, `usage` (a function) and `launch` (a function that starts `member` once for
# each node, in the background, and appends the pids of what it started to `runners`), sources this, and calls
# cluster_parse "$@" and cluster_main.
#
# The hosts need no way to one another but a shared directory, the control directory. Each member publishes there where it
# is, by a rename, and reads where the others are; the file `stop` ends all. It is the user's alone (0700): the cluster key and
# the keys of etcd's certificates are in it. `member` says which files there are.

nodes='' etcds='' control='' scratch='' keep='' interface='' bin='' config='' timeout=120 exports=() settings=()
application=() runners=() child='' child_group='' id='' single='' ours='' begun='' ready='' pending='' kept_lock='' base=''
addresses=() unwritten='' deputy=''

fail() { echo "$self: $*" >&2; exit 1; }
misuse() { echo "$self: $*" >&2; echo "Try '$self --help'." >&2; exit 2; }
say() { echo "$self: $*" >&2; }

# cluster_options NODES-DEFAULT CONTROL-DEFAULT [LINES of options of the script's own]
cluster_options() {
    local own=${3:+$3$'\n'}
    cat <<END
  -n, --nodes N            nodes${1:+ ($1)}
      --etcd N             members of etcd, on the first hosts: 1 or 3 (3 from three nodes on)
      --scratch DIR        where each host keeps data, and sockets: short, and the host's own (\$TMPDIR, /tmp)
      --control DIR        made, and removed at the end; all hosts see it (default: ${2:-in --scratch})
      --keep DIR           keep keys, map and data there; a later job with as many nodes goes on with them
      --export NS=DIR      at the end, when the application has ended, write this namespace out; may be repeated; unless all is
                           written out the data stay where they are
      --config FILE        configuration of all nodes (default: kv, extent and group, with their defaults); names, places,
                           addresses, the key and the map are the job's, whatever it says; it has a group called "group"
      --set PATH=VALUE     a setting of each node, as of cairnd; may be repeated
      --interface NAME     the network to use (default: that of the host's name)
      --timeout SECONDS    for all nodes to be ready (default: 120)
      --bin DIR            where cairn and cairnd are (default: \$PATH)
${own}  -h, --help

A namespace has its replicas a moment after \`cairn ns create --replicas N\`: \`cairn wait-ready --whole\` waits for that.
The application sees CAIRN_WORKSPACE (the node of its host), CAIRN_KEY, CAIRN_JOB_ADDRESSES (up to 16 nodes, for cairn
--address) and CAIRN_JOB_NODES. Its exit code is the script's; if that is 0, but a node, the map that is kept or an export
failed, it is 1. SIGTERM, SIGINT and SIGHUP end the application, then the nodes.
END
}

is_number() { [[ $1 =~ ^[1-9][0-9]{0,5}$ ]]; }
absolute() { case $1 in /*) printf %s "$1" ;; *) printf %s "$PWD/$1" ;; esac; }

# own_option NAME VALUE, if a script defines it, takes an option of its own: 0 with `used` (words), 1 if it is none.
cluster_parse() {
    local option used
    while [ $# -gt 0 ]; do
        option=$1 used=2
        case $option in
        -h | --help) usage; exit 0 ;;
        --) shift; application=("$@"); return ;;
        -*) ;;
        *) application=("$@"); return ;;
        esac
        if declare -F own_option >/dev/null && own_option "$option" "${2-}"; then shift "$used"; continue; fi
        case $option in
        -n | --nodes | --etcd | --scratch | --control | --keep | --export | --config | --set | --interface | --timeout | --bin) ;;
        *) misuse "unknown option '$option'" ;;
        esac
        [ -n "${2-}" ] || misuse "$option needs a value"
        case $option in
        -n | --nodes) nodes=$2 ;;
        --etcd) etcds=$2 ;;
        --scratch) scratch=$(absolute "$2") ;;
        --control) control=$(absolute "$2") ;;
        --keep) keep=$(absolute "$2") ;;
        --export) [[ $2 == ?*=?* ]] || misuse "--export $2: expected NAMESPACE=DIRECTORY"; exports+=("${2%%=*}=$(absolute "${2#*=}")") ;;
        --config) config=$(absolute "$2") ;;
        --set) [[ $2 == ?*=* ]] || misuse "--set $2: expected PATH=VALUE"; settings+=(--set "$2") ;;
        --interface) interface=$2 ;;
        --timeout) is_number "$2" || misuse "--timeout $2: expected seconds"; timeout=$2 ;;
        --bin) bin=$(absolute "$2") ;;
        esac
        shift "$used"
    done
}

cluster_check() {
    [ ${#application[@]} -gt 0 ] || misuse "name the application to run"
    [ -n "$nodes" ] || misuse "say how many --nodes"
    is_number "$nodes" || misuse "--nodes $nodes: expected a number"
    [ -n "$etcds" ] || etcds=$((nodes >= 3 ? 3 : 1))
    [ "$etcds" = 1 ] || [ "$etcds" = 3 ] || misuse "--etcd $etcds: expected 1 or 3"
    [ "$etcds" -le "$nodes" ] || misuse "--etcd $etcds: there are $nodes nodes"
    [[ $scratch$control$keep != *[\"\\$'\n']* ]] || misuse "a directory's name has a quote, a backslash or a line end"
    [ -z "$config" ] || [ -r "$config" ] || fail "--config $config: cannot be read"
    [ -z "$bin" ] || PATH=$bin:$PATH
    local program
    for program in cairn cairnd etcd openssl; do
        command -v "$program" >/dev/null || fail "$program is not found: see --bin, and deploy/install-deps job"
    done
    cairn=$(command -v cairn)
}

# ---- the control directory ----

# A certificate authority that lives as long as the job: whoever has none of its certificates cannot touch the map.
make_authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 400 -subj "/CN=cairn job $id" \
        -keyout "$control/ca.key" -out "$control/ca.crt" 2>"$control/logs/openssl" || fail "openssl: $(cat "$control/logs/openssl")"
}

take_kept() {
    mkdir -p "$keep"
    exec {kept_lock}>"$keep/lock"
    flock -n "$kept_lock" || fail "--keep $keep: another job uses it"
    # A new map would not name what they hold, and the nodes would clear it away.
    if compgen -G "$keep/[0-9]*/data" >/dev/null && { [ ! -s "$keep/map.json" ] || [ ! -e "$keep/nodes" ]; }; then
        fail "--keep $keep: there are data, but not what says whose they are (map.json and nodes): put it back," \
            "or name another directory"
    fi
    if [ -e "$keep/nodes" ]; then
        [ "$(cat "$keep/nodes")" = "$nodes" ] || fail "--keep $keep: its data are of $(cat "$keep/nodes") nodes, not $nodes"
    else
        openssl rand -hex 32 >"$keep/cluster.key"
        openssl rand -hex 16 >"$keep/id"
        echo "$nodes" >"$keep/nodes"
    fi
    cp "$keep/cluster.key" "$keep/id" "$control/"
}

cluster_prepare() {
    local mask
    mask=$(umask)
    umask 077
    scratch=${scratch:-${TMPDIR:-/tmp}}
    if [ -z "$control" ]; then
        control=$(trap '' INT TERM HUP && mktemp -d "${base:-$scratch}/cairn-job.XXXXXX") # made, it must also be told
    else
        mkdir -p "$(dirname "$control")"
        mkdir -m 0700 "$control" || fail "--control $control must be new"
    fi
    ours=1
    mkdir "$control/logs" "$control/group"
    if [ -n "$keep" ]; then
        take_kept
    else
        openssl rand -hex 32 >"$control/cluster.key"
        openssl rand -hex 16 >"$control/id"
    fi
    id=$(openssl rand -hex 4) # of the job: a host's directory in --scratch has it
    make_authority
    if [ -n "$config" ]; then
        cp "$config" "$control/node.yaml"
    else
        cat >"$control/node.yaml" <<END
metrics: { listen: "" } # a host may have several nodes
providers:
  - { type: kv, name: kv }
  - { type: extent, name: extent }
  - { type: group, name: group, listen: "udp://127.0.0.1:0" }
END
    fi
    # Read by `member`.
    declare -p id nodes etcds scratch keep interface single timeout settings PATH >"$control/settings"
    umask "$mask" # the application's files are its own business
}

# ---- the beginning and the end ----

published() { local f=("$control"/"$1".[0-9]*); [ -e "${f[0]}" ] && echo ${#f[@]} || echo 0; }

look_for_failures() {
    local f
    for f in "$control"/failed.*; do
        [ ! -e "$f" ] || fail "node ${f##*.}: $(cat "$f")"
    done
    for f in "${runners[@]}"; do
        kill -0 "$f" 2>/dev/null || fail "the nodes' processes ended before all were ready"
    done
}

# Until @1 is the state of all nodes, as $address sees @2 by the command that follows.
await_all() {
    local state=$1 what=$2 n=0
    shift 2
    until [ "$n" = "$nodes" ]; do
        look_for_failures
        [ "$SECONDS" -lt "$until" ] || fail "$n of $nodes nodes are $what after $timeout s, as $address sees it"
        n=$("$cairn" --address "$address" "$@" --json --timeout 5s 2>/dev/null | grep -Eo "\"state\": *\"$state\"" | wc -l) || true
        [ "$n" = "$nodes" ] || sleep 0.2
    done
}

ADDRESSES_MAX=16 # as many ways in as a client takes; it learns of all other nodes from the map

# By chance, so that clients of many jobs do not all ask the same nodes first, and of as many hosts as can be.
some_addresses() {
    printf '%s\n' "$@" | shuf | awk '{ host = $0; sub(/:[^:]*$/, "", host); print n[host]++, $0 }' | sort -n -s -k 1,1 |
        awk -v n="$ADDRESSES_MAX" 'NR <= n { print $2 }'
}

read_addresses() {
    local i
    for ((i = 0; i < nodes; i++)); do read -r "addresses[i]" <"$control/node.$i"; done
    CAIRN_JOB_ADDRESSES=$(some_addresses "${addresses[@]}" | paste -sd,)
}

# What an earlier job made is served again, and has its replicas; but more than there are nodes it will not have.
await_kept() {
    local left=$((until - SECONDS))
    run "$cairn" --address "$CAIRN_JOB_ADDRESSES" --quiet wait-ready --whole --timeout "$((left > 1 ? left : 1))s" ||
        say "not all that is kept has its replicas yet: cairn status says what is missing"
}

cluster_begin() {
    local until=$((SECONDS + timeout)) address
    begun=1
    hold_signals
    launch
    remember
    take_signals
    until [ "$(published node)" = "$nodes" ]; do
        look_for_failures
        [ $SECONDS -lt $until ] || fail "$(published node) of $nodes nodes are ready after $timeout s"
        sleep 0.2
    done
    read_addresses
    export CAIRN_JOB_ADDRESSES CAIRN_JOB_NODES=$nodes CAIRN_KEY=$control/cluster.key
    export CAIRN_WORKSPACE=$scratch/cairn-$id/ws
    run "$cairn" --address "$CAIRN_JOB_ADDRESSES" wait-ready --timeout "${timeout}s" || fail "no node answers at $CAIRN_JOB_ADDRESSES"
    for address in "${addresses[@]}"; do # each of them: the application may ask any
        await_all alive "in the group" members
        await_all "(up|draining|drained)" "in the cluster" members --cluster # and somebody coordinates it, as this one knows
    done
    [ -z "$keep" ] || await_kept
    ready=1
    if [ ${#exports[@]} -gt 0 ]; then # members see it even where a signal comes to all processes of the job at once
        [ -n "$keep" ] || touch "$control/data-stays" || fail "nothing can be written in $control"
        unwritten=1 # until it is
    fi
    remember
    say "ready: nodes $nodes, members of etcd $etcds"
}

# While something is made that the end must know of, a signal is only noted; it is acted upon afterwards.
hold_signals() {
    trap 'pending=130' INT
    trap 'pending=143' TERM HUP
}

take_signals() {
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    [ -z "$pending" ] || exit "$pending"
}

# In the background, and waited for: so a signal is acted upon at once. In a process group of its own, that what it starts ends
# with it; but at a terminal in ours, which alone may read there, and gets its Ctrl-C.
run() {
    local rc=0
    hold_signals
    [ -t 0 ] || set -m
    begin "$@" <&0 &
    child=$!
    if [[ $- == *m* ]]; then child_group=-$child; else child_group=$child; fi
    set +m
    remember
    take_signals
    wait "$child" || rc=$?
    child=''
    remember
    return "$rc"
}

begin() {
    trap - INT TERM HUP QUIT # else what runs in the background has Ctrl-C ignored
    [ -z "$kept_lock" ] || exec {kept_lock}>&- # what it leaves behind locks nothing
    exec "$@"
}

# ---- the deputy ----

# Killed by SIGKILL, this script ends nothing. Then this process does, which hears no signal that is meant for us, and holds the
# lock of --keep as long. It also says when what runs the nodes has ended: a lost host says nothing itself.
begin_deputy() {
    remember
    set -m
    watch </dev/null >&2 &
    deputy=$!
    set +m
}

# What the deputy has to know; a full disk is no reason to end.
remember() {
    declare -p child child_group runners begun ready unwritten >"$control/.state.new" || return 0
    mv "$control/.state.new" "$control/state"
}

watch() {
    local parent i told=()
    trap - EXIT
    trap '' INT TERM HUP
    set +e
    while :; do
        if read -r _ _ _ parent _ <"/proc/$BASHPID/stat" && [ "$parent" != $$ ]; then break; fi
        # shellcheck source=/dev/null
        . "$control/state"
        for i in "${!runners[@]}"; do
            if [ -z "${told[i]-}" ] && [ -n "$ready" ] && ended "${runners[i]}" && [ ! -e "$control/stop" ]; then
                told[i]=1
                if [ "${#runners[@]}" = "$nodes" ]; then say "node $i is lost"; else say "all nodes are lost"; fi
            fi
        done
        sleep 1
    done
    [ -d "$control" ] || exit 0
    say "killed: its nodes are ended"
    # shellcheck source=/dev/null
    . "$control/state"
    deputy=''
    cluster_end
}

# Groups are negative.
ended() {
    local pid
    for pid in "$@"; do ! kill -0 -- "$pid" 2>/dev/null || return 1; done
}

# end_of SECONDS PID...: whether they end in time.
end_of() {
    local until=$((SECONDS + $1))
    shift
    until ended "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.1
    done
}

cluster_end() {
    local rc=$?
    rc=${pending:-$rc}
    trap '' INT TERM HUP
    set +e
    if [ -n "$child" ]; then
        kill -TERM -- "$child_group" 2>/dev/null
        end_of 20 "$child_group" || kill -KILL -- "$child_group" 2>/dev/null
    fi
    if [ -n "$begun" ]; then
        touch "$control/stop"
        if [ ${#runners[@]} -gt 0 ] && ! end_of 45 "${runners[@]}"; then
            kill -TERM "${runners[@]}" 2>/dev/null
            end_of 60 "${runners[@]}" || kill -KILL "${runners[@]}" 2>/dev/null
        fi
    fi
    if [ -n "$ours" ]; then
        if compgen -G "$control/failed.*" >/dev/null || { [ -n "$ready" ] && [ "$(published "done")" != "$nodes" ]; }; then
            local i
            for ((i = 0; i < nodes; i++)); do
                [ -e "$control/done.$i" ] || [ -e "$control/failed.$i" ] || say "node $i was lost"
            done
            rm -rf "$control"/{cluster.key,ca.*,etcd*,group,settings,state}
            say "not all nodes came to a good end: see $control/logs"
            [ "$rc" != 0 ] || rc=1
        else
            rm -rf "$control"
        fi
    fi
    [ -z "$unwritten" ] || say_what_stays
    [ -z "$deputy" ] || kill -KILL -- "-$deputy"
    exit "$rc"
}

# What is spread over the nodes any of them writes out; of what is not, each has values of its own.
export_all() {
    local name=$1 to=$2 i said found='' silent=() rc=0
    say "writing $name to $to"
    for i in "${!addresses[@]}"; do
        if ! said=$("$cairn" --address "${addresses[i]}" --timeout 10s --json where "$name" any 2>&1); then
            [[ $said == *CAIRN_E_NOTFOUND* ]] && continue
            said=${said#*\"text\":\"}
            silent+=("node $i: ${said%%\"*}")
            continue
        fi
        found=1
        if ! run "$cairn" --address "${addresses[i]}" export --compare "$name" "$to" </dev/null; then
            say "node $i: not all of $name is written out"
            rc=1
        fi
        [[ $said != *'"clustered": true'* ]] || return $rc
    done
    [ -n "$found" ] || { say "no node has a namespace $name"; rc=1; }
    for said in "${silent[@]}"; do
        say "what it has of $name is not written out: $said"
        rc=1
    done
    return $rc
}

say_what_stays() {
    if [ -n "$keep" ]; then
        say "not all was written out: it stays in $keep"
    elif [ -n "$single" ]; then
        say "not all was written out: the data stay, for --nodes $nodes --keep $scratch/cairn-$id"
    else
        say "not all was written out: the data stay on each host in $scratch/cairn-$id, unless the site clears that away;" \
            "what these directories have, in one that all hosts see, is for --nodes $nodes --keep"
    fi
}

cluster_main() {
    local rc=0 pair failures=''
    cluster_check
    trap cluster_end EXIT
    hold_signals
    cluster_prepare
    begin_deputy
    take_signals
    cluster_begin
    run "${application[@]}" || rc=$?
    for pair in "${exports[@]}"; do
        export_all "${pair%%=*}" "${pair#*=}" || failures=1
    done
    if [ -n "$failures" ]; then
        [ "$rc" != 0 ] || rc=1
    else
        unwritten=''
        rm -f "$control/data-stays"
    fi
    exit "$rc"
}
