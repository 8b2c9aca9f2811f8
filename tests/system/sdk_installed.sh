#!/bin/sh
# The installed SDK, as a stranger meets it: a ten-line program outside of the tree is built by pkg-config and by CMake,
# and run against a node; the library shows nothing but its public functions.
#   sdk_installed.sh SOURCE-DIR BUILD-DIR [SANITIZERS of that build]
set -eu
source=$1 build=$2
CFLAGS=${3:+-fsanitize=$3} # a sanitized library needs a sanitized program
export CFLAGS
dir=$(mktemp -d /tmp/cairn-installed-XXXXXX)
node=
# shellcheck disable=SC2317  # called by the trap
clean() {
    if [ -n "$node" ]; then
        kill "$node" 2>/dev/null || :
        wait "$node" 2>/dev/null || :
    fi
    rm -rf "$dir"
}
trap clean EXIT
trap 'exit 1' INT TERM
fail() {
    echo "sdk_installed: $*" >&2
    exit 1
}

if ! cmake --install "$build" --prefix "$dir/usr" >"$dir/install.log"; then
    cat "$dir/install.log"
    fail "cmake --install failed"
fi
pc=$(dirname "$(find "$dir/usr" -name cairn.pc)")
lib=$(dirname "$(find "$dir/usr" -name libcairn.so)")
for f in bin/cairnd bin/cairn include/cairn/cairn.h include/cairn/error.h include/cairn/hashed.h include/cairn/kv.h \
    include/cairn/extent.h include/cairn/group.h include/cairn/admin.h; do
    [ -e "$dir/usr/$f" ] || fail "$f was not installed"
done

for f in man/man1/cairn.1 man/man5/cairn.yaml.5 man/man8/cairnd.8 bash-completion/completions/cairn; do
    [ -s "$dir/usr/share/$f" ] || fail "share/$f was not installed"
done
for f in lib/systemd/system/cairnd@.service lib/systemd/system/cairnd@.socket lib/sysusers.d/cairn.conf libexec/cairn/cluster.sh share/doc/cairn/deploy.md; do
    [ -s "$dir/usr/$f" ] || fail "$f was not installed"
done
grep -q "^ExecStart=$dir/usr/bin/cairnd " "$dir/usr/lib/systemd/system/cairnd@.service" || fail "the unit starts another cairnd"
"$dir/usr/libexec/cairn/cairn-local" --help >/dev/null || fail "the installed job scripts do not run"
for way in mpi pmix; do
    [ ! -e "$dir/usr/bin/cairn-ranks-$way" ] || "$dir/usr/libexec/cairn/group-$way" --help >/dev/null || fail "group-$way is not installed"
done

# No state of the whole process, but the functions of libfabric and libcurl (each loaded once), an object of which only the address counts,
# and the number of exchanges that each set of a job's ranks has had: a job is a process's.
# Sanitizers bring variables of their own.
if [ -z "${3:-}" ]; then
    for l in libcairn.so libcairn-server.so libcairn-join-mpi.so libcairn-join-pmix.so; do
        [ -e "$lib/$l" ] || continue # of the last two
        objdump -t "$lib/$l" >"$dir/symbols"
        awk 'NF > 4 && $(NF - 2) ~ /^\.(data|bss)$/ && $2 != "d" && $3 != "d" { print $NF }' "$dir/symbols" |
            grep -vxE 'once(\.[0-9]+)?|lib|curl|tallies(_mutex)?|failure|call_abandoned|completed\.[0-9]+|__.*|\.(data|bss)' >"$dir/state" &&
            fail "$l keeps state of the process: $(tr '\n' ' ' <"$dir/state")"
        grep -qE ' (call_abandoned|given_up|tallies)$' "$dir/symbols" || fail "$l has no symbols to look at"
    done
fi

# Every public function is there, and no other name.
readelf -d "$lib/libcairn.so" | grep -q 'SONAME.*\[libcairn.so.0\]' || fail "the soname is not libcairn.so.0"
nm -D --defined-only "$lib/libcairn.so" | awk '{ sub(/@.*/, "", $3); print $3 }' | grep -v '^CAIRN_0$' | sort >"$dir/shown"
cat "$dir"/usr/include/cairn/*.h | gcc -fpreprocessed -dD -E -P - 2>/dev/null | tr '\n' ' ' |
    grep -o 'CAIRN_API[^;(]*(' | grep -o '[a-z_0-9]*($' | tr -d '(' | grep '^cairn_' | grep -v '^cairn_server_' | sort -u >"$dir/declared"
[ "$(wc -l <"$dir/declared")" -gt 100 ] || fail "found only $(wc -l <"$dir/declared") declarations"
diff "$dir/declared" "$dir/shown" || fail "declared (<) and exported (>) functions differ"

# Each header stands alone, in C and in C++.
for h in "$dir"/usr/include/cairn/*.h; do
    case $h in */server.h) continue ;; esac
    echo "#include <cairn/$(basename "$h")>" >"$dir/one.c"
    cc -std=c11 -Wall -Wextra -Werror -I"$dir/usr/include" -c "$dir/one.c" -o "$dir/one.o"
    if command -v c++ >/dev/null; then
        c++ -std=c++11 -Wall -Wextra -Werror -x c++ -I"$dir/usr/include" -c "$dir/one.c" -o "$dir/one.o"
    fi
done

# What stands on MPI and PMIx, where it was built: a header, a library that shows one function.
for way in mpi pmix; do
    [ -e "$dir/usr/include/cairn/join/$way.h" ] || continue
    if [ "$way" = mpi ]; then flags=$(pkg-config --cflags mpi-c 2>/dev/null || pkg-config --cflags ompi-c); else flags=$(pkg-config --cflags pmix); fi
    printf '#include <cairn/join/%s.h>\nint main(void) { return cairn_group_join_%s == NULL; }\n' "$way" "$way" >"$dir/one.c"
    # shellcheck disable=SC2046,SC2086
    cc $CFLAGS -Wall -Wextra -Werror -Wno-address $flags "$dir/one.c" \
        $(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs cairn) "-lcairn-join-$way" -Wl,-rpath,"$lib" -o "$dir/one"
    "$dir/one" || fail "a program with libcairn-join-$way does not start"
    shown=$(nm -D --defined-only "$lib/libcairn-join-$way.so" | awk '{ sub(/@.*/, "", $3); print $3 }' | grep -v '^CAIRN_0$' | tr '\n' ' ')
    [ "$shown" = "cairn_group_join_$way " ] || fail "libcairn-join-$way.so shows $shown"
    [ -x "$dir/usr/bin/cairn-ranks-$way" ] || fail "bin/cairn-ranks-$way was not installed"
    "$dir/usr/bin/cairn-ranks-$way" --help >/dev/null || fail "cairn-ranks-$way does not start where it is installed"
done

mkdir "$dir/program"
cp "$source/sdk/examples/hello.c" "$dir/program"
PKG_CONFIG_PATH=$pc
export PKG_CONFIG_PATH
# shellcheck disable=SC2046,SC2086  # flags are words
cc $CFLAGS -Wall -Wextra -Werror "$dir/program/hello.c" $(pkg-config --cflags --libs cairn) -Wl,-rpath,"$lib" \
    -o "$dir/by-pkg-config"
cat >"$dir/program/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(hello LANGUAGES C)
find_package(Cairn 0.1 REQUIRED)
add_executable(by-cmake hello.c)
target_link_libraries(by-cmake PRIVATE Cairn::cairn)
END
if ! { cmake -G Ninja -S "$dir/program" -B "$dir/program/build" -DCMAKE_PREFIX_PATH="$dir/usr" &&
    cmake --build "$dir/program/build"; } >"$dir/cmake.log" 2>&1; then
    cat "$dir/cmake.log"
    fail "find_package(Cairn) failed"
fi

unset CAIRN_ADDRESSES
CAIRN_WORKSPACE=$dir/ws
LD_LIBRARY_PATH=$lib
export CAIRN_WORKSPACE LD_LIBRARY_PATH
"$dir/usr/bin/cairnd" --data "$dir/data" --workspace "$CAIRN_WORKSPACE" >"$dir/node.log" 2>&1 &
node=$!
"$dir/usr/bin/cairn" wait-ready --timeout 60s >/dev/null || { cat "$dir/node.log"; fail "the node did not start"; }
"$dir/usr/bin/cairn" ns create demo >/dev/null || { cat "$dir/node.log"; fail "no namespace could be made"; }
for program in "$dir/by-pkg-config" "$dir/program/build/by-cmake"; do
    said=$("$program") || fail "$program failed"
    [ "$said" = "hello, world" ] || fail "$program said '$said'"
done
# An application that hosts a node.
# shellcheck disable=SC2046,SC2086
cc $CFLAGS -Wall -Wextra -Werror "$source/tests/system/embed.c" $(pkg-config --cflags --libs cairn-server) \
    -Wl,-rpath,"$lib" -o "$dir/embed"
said=$("$dir/embed" "$dir/data2" "$dir/ws2" 2>"$dir/embed.log") || { cat "$dir/embed.log"; fail "embed failed"; }
case $said in unix://*) ;; *) fail "embed said '$said'" ;; esac
nm -D --defined-only "$lib/libcairn-server.so" | awk '{ sub(/@.*/, "", $3); print $3 }' |
    grep -vE '^(CAIRN_SERVER_0|cairn_(server|error)_[a-z_]+)$' && fail "libcairn-server.so shows more than server.h"
kill "$node"
wait "$node" || { cat "$dir/node.log"; fail "cairnd did not end with 0"; }
node=
# Without a node the program says why, and what to do.
if said=$("$dir/by-pkg-config" 2>&1); then
    fail "it succeeds without a node"
fi
case $said in *"no node was started"*) ;; *) fail "without a node it says: $said" ;; esac
