"""The job scripts: on this machine alone, under mpirun, and as jobs of a Slurm that the test starts, with its MUNGE. Each brings up
an etcd and three nodes of one group, and leaves neither processes nor files behind."""

import glob
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

from systest import BUILD, CAIRN, DEADLINE_S, SOURCE, UNREACHABLE, USAGE, Case, clean_env, main, run, wait_for

JOBS = os.path.join(SOURCE, "deploy", "jobs")
BIN = os.path.join(BUILD, "bin")
# Who is late is suspected for a moment.
SEES = r'test $(cairn members --json | grep -Ec "\"state\": *\"(alive|suspect)\"") = %d'


def has(*programs):
    return all(shutil.which(p, path=os.environ["PATH"] + ":/usr/sbin") for p in programs)


def read(path):
    with open(path, errors="replace") as f:
        return f.read()


def processes_below(directory):
    """Processes whose command lines name a path below the directory: line by number."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                line = f.read()
        except OSError:
            continue
        if os.fsencode(directory) in line:
            found[int(path.split("/")[2])] = line.replace(b"\0", b" ").decode(errors="replace")
    return found


@unittest.skipUnless(has("etcd", "openssl"), "etcd or openssl is not installed")
class JobCase(Case):
    def setUp(self):
        super().setUp()
        self.scratch = self.path("scratch")
        os.mkdir(self.scratch)
        self.env = clean_env(TMPDIR=self.scratch, LC_ALL="C")

    def argv(self, script, *args):
        return [os.path.join(JOBS, script), "--bin", BIN, *args]

    def job(self, script, *args, **kw):
        return run(*self.argv(script, *args), env=kw.pop("env", self.env), timeout=300, **kw)

    def nothing_stays(self):
        wait_for("its processes to end", lambda: not processes_below(self.scratch))
        self.assertEqual(os.listdir(self.scratch), [])


class Scripts(JobCase):
    def test_help_and_mistakes(self):
        for script in ("cairn-local", "cairn-mpirun", "cairn-slurm"):
            self.assertIn("--keep DIR", self.ok(self.job(script, "--help")).out)
            self.fails(self.job(script, "--no-such", "x", "--", "true"), USAGE, "unknown option '--no-such'")
            self.fails(self.job(script, "--set", "x", "--", "true"), USAGE, "expected PATH=VALUE")
        self.assertIn("CONTROL-DIRECTORY", self.ok(run(os.path.join(JOBS, "member"), "--help")).out)
        for args, said in (((), "name the application"), (("--nodes", "0", "--", "true"), "expected a number"),
                           (("--etcd", "2", "--", "true"), "expected 1 or 3"), (("--export", "x", "--", "true"), "NAMESPACE="),
                           (("-n", "2", "--etcd", "3", "--", "true"), "there are 2 nodes"), (("--nodes",), "needs a value")):
            self.fails(self.job("cairn-local", *args), USAGE, said)
        self.fails(self.job("cairn-mpirun", "--", "true"), USAGE, "say how many --nodes")
        self.fails(self.job("cairn-slurm", "--", "true"), USAGE, "no job of Slurm")
        self.nothing_stays()

    def test_an_application_gets_as_many_addresses_as_a_client_takes(self):
        def some(hosts, nodes):
            """What 17 nodes or more publish, without the nodes."""
            for i in range(nodes):
                self.write("control/node.%d" % i, b"tcp://127.1.0.%d:%d\n" % (i % hosts + 1, 4000 + i))
            r = self.ok(run("bash", "-euo", "pipefail", "-c",
                            '. "$1"; control=$2 nodes=$3; read_addresses; echo $CAIRN_JOB_ADDRESSES', "-",
                            os.path.join(JOBS, "cluster.sh"), self.path("control"), str(nodes)))
            return r.out.strip().split(",")

        for hosts, nodes in ((1, 3), (1, 16), (1, 17), (17, 17), (16, 32), (40, 1000)):
            given = some(hosts, nodes)
            self.assertEqual(len(set(given)), min(nodes, 16))
            self.assertEqual(len({a.rsplit(":", 1)[0] for a in given}), min(hosts, 16))
        self.fails(run(CAIRN, "--address", ",".join(given), "--timeout", "5s", "status"), UNREACHABLE, given[15])

    @unittest.skipUnless(has("shellcheck"), "shellcheck is not installed")
    def test_shellcheck(self):
        scripts = glob.glob(os.path.join(JOBS, "*")) + [os.path.join(SOURCE, "deploy", s) for s in ("quickstart", "install-deps")]
        self.assertGreater(len(scripts), 6)
        checked = subprocess.run(["shellcheck", "-x", *scripts], cwd=SOURCE, capture_output=True, text=True)
        self.assertEqual(checked.stdout, "")


class Local(JobCase):
    def test_three_nodes_an_application_and_the_end(self):
        r = self.job("cairn-local", "--", "bash", "-ec", SEES % 3 + """
            echo $CAIRN_JOB_NODES
            cairn --address $CAIRN_JOB_ADDRESSES wait-ready
            cairn ns create demo; echo hi | cairn put demo k; cairn get demo k; umask; exit 7""")
        self.assertEqual(r.code, 7, r)
        self.assertEqual(r.out.split()[0], "3")
        mask = os.umask(0)
        os.umask(mask)
        self.assertIn("hi\n%04o" % mask, r.out)
        self.assertIn("ready: nodes 3, members of etcd 3", r.err)
        self.nothing_stays()

    def test_nobody_else_gets_at_the_map(self):
        ask = self.write("ask.py", b"""
import http.client, os, ssl, sys
control, host = os.path.dirname(os.environ["CAIRN_KEY"]), os.path.dirname(os.environ["CAIRN_WORKSPACE"])
assert os.stat(control).st_mode & 0o777 == 0o700
address = open(control + "/etcd.0").read().split()[2][len("https://"):]

def version(own):
    context = ssl.create_default_context(cafile=control + "/ca.crt")
    if own:
        context.load_cert_chain(host + "/0/own.crt", host + "/0/own.key")
    connection = http.client.HTTPSConnection(address, context=context, timeout=30)
    connection.request("GET", "/version")
    return connection.getresponse().read()

assert b"etcdserver" in version(True)
try:
    sys.exit("let in without a certificate: %s" % version(False))
except (ssl.SSLError, ConnectionError):
    print("refused")
""")
        self.assertEqual(self.ok(self.job("cairn-local", "-n", "1", "--", sys.executable, ask)).out, "refused\n")
        self.nothing_stays()

    def test_what_is_kept_is_there_again_and_what_is_exported_is_out(self):
        kept, out = self.path("kept"), self.path("out")
        self.ok(self.job("cairn-local", "--keep", kept, "--", "bash", "-ec",
                         "cairn ns create demo; echo first | cairn put demo k; head -c 3000000 /dev/zero | cairn put demo large;"
                         "cairn ns create --replicas 2 spread; for i in 1 2 3 4 5 6 7 8; do cairn put -v $i spread s$i; done"))
        self.nothing_stays()
        self.assertEqual(os.stat(kept).st_mode & 0o777, 0o700)
        self.fails(self.job("cairn-local", "--keep", kept, "-n", "1", "--", "true"), 1, "its data are of 3 nodes, not 1")
        # A program that writes down how it is called.
        os.mkdir(self.path("bin"))
        os.symlink(os.path.join(BIN, "cairnd"), self.path("bin/cairnd"))
        os.chmod(self.write("bin/cairn", ('#!/bin/sh\necho "$@" >>%s\nexec %s "$@"\n' % (self.path("called"), CAIRN)).encode()), 0o755)
        r = self.job("cairn-local", "--bin", self.path("bin"), "--keep", kept, "--export", "demo=" + out,
                     "--export", "none=" + out, "--", "bash", "-ec", """
            echo application >>%s
            for a in ${CAIRN_JOB_ADDRESSES//,/ }; do cairn --address $a get demo k 2>/dev/null || true; done
            for i in 1 2 3 4 5 6 7 8; do echo $(cairn get spread s$i); done
            "$0" --keep %s -n 3 -- true 2>&1 | grep -o 'another job uses it'""" % (self.path("called"), kept), self.argv("cairn-local")[0])
        self.assertEqual(r.out.split("\n")[:10], ["first", *"12345678", "another job uses it"], r)
        self.assertIn("wait-ready --whole", read(self.path("called")).split("application\n")[0])
        self.assertEqual(r.code, 1, r)
        self.assertIn("no node has a namespace none", r.err)
        self.assertEqual(read(os.path.join(out, "k")), "first\n")
        self.assertEqual(os.path.getsize(os.path.join(out, "large")), 3000000)
        self.nothing_stays()

    def test_a_map_that_was_kept_some_time_before_the_end(self):
        """As of a job that was cancelled: what it says of slots is older than what the nodes have."""
        kept, older = self.path("kept"), self.path("older.json")
        self.ok(self.job("cairn-local", "--keep", kept, "--", "bash", "-ec", """
            cairn ns create --replicas 2 spread; for i in 1 2 3 4; do cairn put -v $i spread s$i; done"""))
        shutil.copy(os.path.join(kept, "map.json"), older)
        self.ok(self.job("cairn-local", "--keep", kept, "--", "bash", "-ec", """
            cairn put -v new spread s1; for i in 5 6 7 8; do cairn put -v $i spread s$i; done
            cairn ns create --replicas 2 later; cairn put -v lost later s1"""))
        self.assertIn("ns/later", read(os.path.join(kept, "map.json")))
        shutil.copy(older, os.path.join(kept, "map.json"))
        r = self.ok(self.job("cairn-local", "--keep", kept, "--", "bash", "-ec", """
            for i in 1 2 3 4 5 6 7 8; do echo $(cairn get spread s$i); done
            cairn ns show later 2>/dev/null || echo none
            cairn ns create --replicas 2 later >/dev/null; cairn ls later"""))
        self.assertEqual(r.out.split("\n")[:-1], ["new", *"2345678", "none"], r)
        self.nothing_stays()

    def test_each_value_is_written_out_once(self):
        out = self.path("out")
        r = self.ok(self.job("cairn-local", "--export", "spread=" + out, "--export", "alone=" + out, "--", "bash", "-ec", """
            cairn ns create --replicas 2 spread; cairn ns create alone
            for i in 1 2 3 4 5 6 7 8; do cairn put -v $i spread s$i; done
            for a in ${CAIRN_JOB_ADDRESSES//,/ }; do cairn --address $a put -v x alone ${a##*:}; done"""))
        self.assertEqual(r.out.count("export: 8 files"), 1, r)  # any node has all of them
        self.assertEqual(r.out.count("export: 1 file"), 3, r)   # each has its own
        self.assertEqual(len(os.listdir(out)), 8 + 3)
        self.nothing_stays()

    def test_what_was_not_written_out_stays(self):
        out = self.path("out")
        r = self.fails(self.job("cairn-local", "--export", "alone=" + out, "--", "bash", "-ec", """
            cairn ns create alone
            for a in ${CAIRN_JOB_ADDRESSES//,/ }; do cairn --address $a put -v x alone ${a##*:}; done
            kill -KILL $(sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p' ${CAIRN_WORKSPACE%/ws}/1/ws/node.json)
            until [ -e ${CAIRN_KEY%/*}/failed.1 ]; do sleep 0.1; done"""), 1, "of alone is not written out: node 1: ",
                       "the data stay")
        self.assertEqual(len(os.listdir(out)), 2)
        shutil.rmtree(os.path.dirname(r.err.rsplit("see ", 1)[1].split()[0]))

        # What it says can be done; and where the end comes from outside, nothing is written out either.
        stays = r.err.split("--keep ")[1].strip()
        p = subprocess.Popen(self.argv("cairn-local", "--keep", stays, "--export", "alone=" + out, "--", "sleep", "300"),
                             env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.assertIn("ready", p.stderr.readline())
        p.terminate()
        self.assertIn("not all was written out: it stays in " + stays, p.communicate(timeout=DEADLINE_S)[1])
        self.assertEqual(p.returncode, 143)
        self.ok(self.job("cairn-local", "--keep", stays, "--export", "alone=" + out, "--", "true"))
        self.assertEqual(len(os.listdir(out)), 3)
        shutil.rmtree(stays)
        self.nothing_stays()

    def test_the_map_is_kept_from_the_beginning_on_and_a_failure_is_told_at_once(self):
        kept, said = self.path("kept"), self.write("said", b"")
        job = ["bash", "-c", 'exec "$@" 2>%s' % said, "-", *self.argv("cairn-local", "-n", "1", "--keep", kept, "--")]
        self.ok(run(*job, "bash", "-ec", """
            test -s %s/map.json
            mkdir %s/map.json.new
            until grep -q 'the map is not kept.*Is a directory' %s; do sleep 0.1; done
            cairn ns create demo; rmdir %s/map.json.new
            until grep -qs ns/demo %s/map.json; do sleep 0.1; done""" % (kept, kept, said, kept, kept), env=self.env))
        self.nothing_stays()

        # To the end: of no use to a later job, whatever the application says.
        self.assertEqual(run(*job, "mkdir", kept + "/map.json.new", env=self.env).code, 1)
        self.assertIn("the map was not kept: ", read(said))
        self.assertIn("Is a directory", read(said))
        shutil.rmtree(os.path.dirname(read(said).rsplit("see ", 1)[1].strip()))
        self.nothing_stays()
        r = self.fails(self.job("cairn-local", "-n", "1", "--keep", kept, "--", "true"), 1, "the map cannot be kept",
                       "Is a directory")
        shutil.rmtree(os.path.dirname(r.err.rsplit("see ", 1)[1].strip()))
        os.rmdir(kept + "/map.json.new")

        # Data whose map is gone would be taken for nobody's; the map of a job that came to nothing is one.
        whole = read(kept + "/map.json")
        os.remove(kept + "/map.json")
        self.fails(self.job("cairn-local", "-n", "1", "--keep", kept, "--", "true"), 1, "there are data, but not")
        self.write("kept/map.json", whole.encode())
        self.assertIn("demo", self.ok(self.job("cairn-local", "-n", "1", "--keep", kept, "--", "cairn", "ns", "list")).out)
        whole = read(kept + "/map.json")
        p = subprocess.Popen(self.argv("cairn-local", "-n", "1", "--keep", kept, "--set", "map.endpoints=[https://127.0.0.1:1]",
                                       "--", "true"), env=self.env, stderr=subprocess.DEVNULL)
        wait_for("the import", lambda: any("--map-import" in line for line in processes_below(self.scratch).values()))
        p.terminate()
        self.assertEqual(p.wait(DEADLINE_S), 143)
        self.nothing_stays()
        # Nor is what etcd holds then kept in its stead, which is nothing.
        self.assertEqual(read(kept + "/map.json"), whole)
        self.write("kept/map.json", b"no map\n")
        r = self.fails(self.job("cairn-local", "-n", "1", "--keep", kept, "--", "true"), 1, "the kept map: ")
        shutil.rmtree(os.path.dirname(r.err.rsplit("see ", 1)[1].strip()))
        self.assertEqual(read(kept + "/map.json"), "no map\n")
        self.write("kept/map.json", b'{"cairn_map": 1, "revision": 1, "entries": [\n]}\n')
        self.ok(self.job("cairn-local", "-n", "1", "--keep", kept, "--", "true"))
        self.nothing_stays()

    def test_a_configuration_of_the_sites_own(self):
        r = self.ok(self.job("cairn-local", "--config", os.path.join(SOURCE, "deploy", "examples", "burst-buffer.yaml"),
                             "--set", "node.workers=1", "--", "bash", "-ec", SEES % 3 + "; cairn status --json"))
        self.assertIn('"memory"', r.out)
        self.nothing_stays()

    def test_a_node_that_does_not_start(self):
        r = self.fails(self.job("cairn-local", "--set", "nonsense=1", "--", "true"), 1, "unknown key 'nonsense'", "see ")
        logs = r.err.rsplit("see ", 1)[1].strip()
        self.assertIn("unknown key", read(os.path.join(logs, "node.0")))
        self.assertFalse(glob.glob(os.path.dirname(logs) + "/*.key"))  # logs stay, secrets do not
        shutil.rmtree(os.path.dirname(logs))
        self.nothing_stays()

    def test_a_node_that_dies_does_not_end_the_others(self):
        """Nor does one whose host is lost, as far as can be seen here: all that it ran has ended with it."""
        said = self.write("said", b"")
        r = run("bash", "-c", 'exec "$@" 2>%s' % said, "-", *self.argv("cairn-local", "--", "bash", "-ec", """
            pid() { sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p' ${CAIRN_WORKSPACE%%/ws}/$1/ws/node.json; }
            lost=$(pid 2) etcd=$(pgrep -f -- "--data-dir ${CAIRN_WORKSPACE%%/ws}/2/etcd ")
            kill -KILL $(pid 1)
            until [ -e ${CAIRN_KEY%%/*}/failed.1 ]; do sleep 0.1; done
            kill -KILL $(ps -o ppid= -p $lost)
            until grep -q 'node 2 is lost' %s; do sleep 0.1; done
            while [ -e /proc/$lost ] || [ -e /proc/$etcd ]; do sleep 0.1; done
            cairn --address $CAIRN_JOB_ADDRESSES status >/dev/null || [ $? = 5 ]; echo goes on
            ln -sfn ${CAIRN_WORKSPACE%%/ws}/2/ws $CAIRN_WORKSPACE # as if it had been the first
            rm -r ${CAIRN_WORKSPACE%%/ws}/2""" % said), env=self.env, timeout=300)
        r.err = read(said)
        self.fails(r, 1, "node 1: the node ended with 137", "not all nodes came to a good end")
        self.assertIn("goes on", r.out)
        shutil.rmtree(os.path.dirname(r.err.rsplit("see ", 1)[1].strip()))
        self.nothing_stays()

    def test_an_etcd_that_dies_is_told(self):
        r = self.job("cairn-local", "--", "bash", "-ec", """
            kill -KILL $(pgrep -f -- "--data-dir ${CAIRN_WORKSPACE%/ws}/1/etcd ")
            until [ -e ${CAIRN_KEY%/*}/failed.1 ]; do sleep 0.1; done
            cairn --address $CAIRN_JOB_ADDRESSES status >/dev/null || [ $? = 5 ]; echo goes on""")
        self.assertIn("goes on", r.out)
        self.assertIn("node 1: etcd ended with 137", r.err)
        self.assertIn("not all nodes came to a good end", r.err)
        shutil.rmtree(os.path.dirname(r.err.rsplit("see ", 1)[1].strip()))
        self.nothing_stays()

    def test_what_the_application_starts_ends_with_it(self):
        application = self.write("scratch/application", b"#!/bin/bash\nsleep 777 & echo $! >$0.pid; wait\n")
        os.chmod(application, 0o755)
        command = self.argv("cairn-local", "-n", "1", "--", application)
        for sig, code, terminal in ((signal.SIGTERM, 143, False), (signal.SIGINT, 130, True)):
            master, slave = pty.openpty() if terminal else os.pipe()
            p = subprocess.Popen(["setsid", "--ctty", *command] if terminal else command, env=self.env, stdin=slave,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_for("the application", lambda: os.path.exists(application + ".pid") and read(application + ".pid"))
            sleeper = "/proc/%s" % read(application + ".pid").strip()
            self.assertTrue(os.path.exists(sleeper))
            if terminal:
                os.write(master, b"\x03")  # Ctrl-C
            else:
                p.send_signal(sig)
            self.assertEqual(p.wait(DEADLINE_S), code)
            wait_for("what it has started to end", lambda: not os.path.exists(sleeper), 30)
            for fd in (master, slave):
                os.close(fd)
            os.remove(application + ".pid")
        os.remove(application)
        self.nothing_stays()

    def test_what_a_killed_script_ran_ends_too(self):
        kept, out = self.path("kept"), self.path("out")
        for early in (True, False):
            pid = self.path("pid")
            argv = self.argv("cairn-local", "--keep", kept, "--export", "demo=" + out, "-n", "1", "--", "bash", "-c",
                             "cairn ns create demo; echo $$ >%s; sleep 300" % pid)
            p = subprocess.Popen(argv, env=self.env,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if early:
                wait_for("a node", lambda: any("/member " in line for line in processes_below(self.scratch).values()))
            else:
                wait_for("the application", lambda: os.path.exists(pid) and read(pid))
            p.kill()
            said = p.communicate(timeout=DEADLINE_S)[1]  # to the end of its deputy
            self.assertIn("killed: its nodes are ended", said)
            self.assertNotIn("good end", said)
            self.nothing_stays()
        self.assertFalse(os.path.exists("/proc/" + read(pid).strip()))
        self.assertIn("not all was written out: it stays in " + kept, said)
        self.assertIn("demo", self.ok(self.job("cairn-local", "-n", "1", "--keep", kept, "--", "cairn", "ns", "list")).out)
        self.nothing_stays()

    def test_signals_end_all(self):
        for sig, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 143)):
            for early in (True, False):
                p = subprocess.Popen(self.argv("cairn-local", "--", "sleep", "300"), env=self.env, start_new_session=True,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                if early:
                    wait_for("a node", lambda: processes_below(self.scratch))
                else:
                    self.assertIn(b"ready", p.stdout.readline())
                os.killpg(p.pid, sig)  # as a terminal does: to all of the foreground
                p.communicate(timeout=DEADLINE_S)
                self.assertEqual(p.returncode, code)
                self.nothing_stays()


@unittest.skipUnless(has("mpirun"), "mpirun is not installed")
class Mpi(JobCase):
    STARTER = "mpirun --oversubscribe --map-by node --bind-to none"

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("w"))
        self.env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_btl="self,vader")

    def argv(self, *args):
        return ["bash", "-c", 'cd "$0" && exec "$@"', self.path("w"), *super().argv("cairn-mpirun", "--mpirun", self.STARTER, *args)]

    def test_nodes_and_ranks(self):
        r = run(*self.argv("-n", "3", "--", "bash", "-ec", SEES % 3 + "; cairn ns create demo; " + self.STARTER +
                           " -n 4 bash -c 'echo $OMPI_COMM_WORLD_RANK | cairn put demo rank$OMPI_COMM_WORLD_RANK'; cairn ls demo"),
                env=self.env, timeout=300)
        self.ok(r)
        self.assertEqual(r.out.split(), ["rank0", "rank1", "rank2", "rank3"])
        self.nothing_stays()
        self.assertEqual(os.listdir(self.path("w")), [])

    def test_a_lost_host_does_not_end_the_others(self):
        r = run(*self.argv("-n", "3", "--", "bash", "-ec", """
            cairn ns create --replicas 2 spread; cairn wait-ready --whole
            for i in 1 2 3 4 5 6 7 8; do cairn put -v $i spread s$i; done
            lost=2; [ $(readlink $CAIRN_WORKSPACE) != ${CAIRN_WORKSPACE%/ws}/2/ws ] || lost=1  # not the one we go by
            node=$(sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p' ${CAIRN_WORKSPACE%/ws}/$lost/ws/node.json)
            kill -KILL $(ps -o ppid= -p $node)
            while [ -e /proc/$node ]; do sleep 0.1; done
            for i in 1 2 3 4 5 6 7 8; do echo $(cairn get spread s$i); done
            rm -r ${CAIRN_WORKSPACE%/ws}/$lost"""), env=self.env, timeout=300)
        self.fails(r, 1, "not all nodes came to a good end")
        self.assertEqual(r.out.split(), list("12345678"), r)
        self.assertEqual(r.err.count("was lost"), 1, r)
        shutil.rmtree(os.path.dirname(r.err.rsplit("see ", 1)[1].strip()))
        self.nothing_stays()

    def test_a_signal_ends_all(self):
        p = subprocess.Popen(self.argv("-n", "2", "--", "sleep", "300"), env=self.env, start_new_session=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertTrue(any(b"ready" in line for line in p.stdout), "it ended before")
        p.send_signal(signal.SIGTERM)
        p.communicate(timeout=DEADLINE_S)
        self.assertEqual(p.returncode, 143)
        self.nothing_stays()
        self.assertEqual(os.listdir(self.path("w")), [])


@unittest.skipUnless(has("slurmctld", "slurmd", "srun", "munged"), "Slurm or MUNGE is not installed")
@unittest.skipUnless(os.getuid() == 0, "a Slurm of the test's own needs root")
class Slurm(JobCase):
    """One controller and three slurmd on this machine, with configuration, state and key in the test's directory."""

    HOSTS = 3

    def setUp(self):
        super().setUp()
        # munged looks at each directory above its socket: not writable by others, and open to its clients.
        self.site = self.path("slurm")
        os.chmod(self.base, 0o755)
        for d in ("munge", "state", "spool", "log", "work"):
            os.makedirs(os.path.join(self.site, d), 0o755)
        for i in range(1, self.HOSTS + 1):
            os.mkdir(os.path.join(self.site, "spool", "n%d" % i))
        self.env["PATH"] = os.environ["PATH"] + ":/usr/sbin"
        self.env["SLURM_CONF"] = os.path.join(self.site, "slurm.conf")
        self.start_munge()
        self.start_slurm()

    def daemon(self, name, *argv):
        with open(os.path.join(self.site, "log", name + ".out"), "wb") as log:
            p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)

        def end():
            p.terminate()
            try:
                p.wait(60)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

        self.addCleanup(end)
        return p

    def log(self):
        return "".join("--- %s\n%s\n" % (p, read(p)[-1500:])
                       for p in sorted(glob.glob(os.path.join(self.site, "log", "*"))))

    def start_munge(self):
        at = lambda f: os.path.join(self.site, "munge", f)
        with open(at("key"), "wb") as f:
            f.write(os.urandom(1024))
        os.chmod(at("key"), 0o400)
        self.munged = self.daemon("munged", "munged", "--foreground", "--key-file=" + at("key"), "--socket=" + at("sock"),
                                  "--pid-file=" + at("pid"), "--log-file=" + at("log"), "--seed-file=" + at("seed"))
        wait_for("munged", lambda: os.path.exists(at("sock")) or self.munged.poll() is not None)
        if self.munged.poll() is not None:
            self.does_not_start("munged")

    def does_not_start(self, what):
        """That the machine does not let it is no defect; anything else is."""
        log = self.log()
        if any(text in log for text in ("Operation not permitted", "Permission denied")):
            self.skipTest("%s is not let start here: %s" % (what, log))
        self.fail("%s does not start: %s" % (what, log))

    def ports(self, n):
        sockets = [socket.socket() for _ in range(n)]
        for s in sockets:
            s.bind(("0.0.0.0", 0))
        ports = [s.getsockname()[1] for s in sockets]
        for s in sockets:
            s.close()
        return ports

    def start_slurm(self):
        """Ports that were free a moment ago may be somebody else's by now: then others are tried."""
        for _ in range(5):
            self.configure_slurm()
            daemons = [self.daemon("slurmctld", "slurmctld", "-D")]
            daemons += [self.daemon("slurmd%d" % i, "slurmd", "-D", "-N", "n%d" % i) for i in range(1, self.HOSTS + 1)]
            ended = lambda: any(d.poll() is not None for d in daemons)
            wait_for("Slurm's hosts", lambda: ended() or
                     run("sinfo", "-h", "-t", "idle", "-o", "%D", env=self.env).out.strip() == str(self.HOSTS))
            if not ended():
                self.addCleanup(self.cancel_all)
                return
            for daemon in daemons:
                daemon.terminate()
                daemon.wait(DEADLINE_S)
            if "Address already in use" not in self.log():
                break
        self.does_not_start("Slurm")

    def configure_slurm(self):
        host, s = socket.gethostname().split(".")[0], self.site
        ports = self.ports(1 + self.HOSTS)
        nodes = "".join("NodeName=n%d NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=%d State=UNKNOWN\n" %
                        (i, host, ports[i], os.cpu_count()) for i in range(1, self.HOSTS + 1))
        with open(self.env["SLURM_CONF"], "w") as f:
            f.write("""ClusterName=cairntest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={s}/munge/sock
SlurmUser=root
StateSaveLocation={s}/state
SlurmdSpoolDir={s}/spool/%n
SlurmctldPidFile={s}/slurmctld.pid
SlurmdPidFile={s}/slurmd.%n.pid
SlurmctldLogFile={s}/log/slurmctld
SlurmdLogFile={s}/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
ReturnToService=2
KillWait=30
MinJobAge=300
{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
""".format(host=host, port=ports[0], s=s, nodes=nodes))

    def cancel_all(self):
        """Before the daemons end, whose steps would stay: of a test that failed in the middle of a job."""
        run("scancel", "--user", "root", env=self.env)
        until = time.monotonic() + 40
        while processes_below(self.scratch) and time.monotonic() < until:
            time.sleep(0.1)
        for pid in processes_below(self.scratch):
            os.kill(pid, signal.SIGKILL)

    def submit(self, *args, options=()):
        """A job, by sbatch; its number."""
        r = run("sbatch", "--parsable", "--nodes", str(self.HOSTS), "--time", "5", "--output", "%j.out",
                "--chdir", os.path.join(self.site, "work"), *options, *self.argv("cairn-slurm", "--interface", "lo", *args),
                env=self.env)
        return self.ok(r).out.strip()

    def output(self, job):
        path = os.path.join(self.site, "work", job + ".out")
        return read(path) if os.path.exists(path) else ""

    def state(self, job):
        shown = run("scontrol", "show", "job", job, env=self.env).out
        return dict(w.split("=", 1) for w in shown.split() if "=" in w)

    def await_end(self, job, seconds=DEADLINE_S):
        wait_for("the job's end; its output: " + self.output(job) + self.log(),
                 lambda: self.state(job).get("JobState") in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"), seconds)
        return self.state(job)

    def test_a_job_runs_and_others_are_cancelled(self):
        # To its end, with an application that is a step on all hosts, and an export.
        out = self.path("out")
        job = self.submit("--export", "demo=" + out, "--", "bash", "-ec", SEES % self.HOSTS + """
            cairn ns create demo
            srun --overlap -N %d -n %d bash -c 'echo $SLURMD_NODENAME | cairn put demo rank$SLURM_PROCID'
            cairn ls demo""" % (self.HOSTS, self.HOSTS))
        state = self.await_end(job)
        self.assertEqual((state["JobState"], state["ExitCode"]), ("COMPLETED", "0:0"), self.output(job) + self.log())
        self.assertEqual({read(os.path.join(out, "rank%d" % i)).strip() for i in range(self.HOSTS)},
                         {"n%d" % i for i in range(1, self.HOSTS + 1)})
        self.nothing_stays()
        self.assertEqual(os.listdir(os.path.join(self.site, "work")), [job + ".out"])

        # Cancelled, when all processes get SIGTERM at once; and asked to end, as the time limit does, when only the script is.
        for cancel in (["scancel"], ["scancel", "--batch", "--signal=TERM"]):
            job = self.submit("--", "sleep", "300")
            wait_for("the job to be ready", lambda: "ready: nodes" in self.output(job))
            self.ok(run(*cancel, job, env=self.env))
            state = self.await_end(job)
            self.assertEqual(state["ExitCode"], "143:0", self.output(job))
            self.assertNotIn("good end", self.output(job))
            self.nothing_stays()

        # Several nodes on each host; what is kept is there for the next job.
        kept = self.path("kept")
        for command in ("cairn ns create demo; cairn put demo k </etc/hostname",
                        "for a in ${CAIRN_JOB_ADDRESSES//,/ }; do cairn --address $a get demo k 2>/dev/null && exit; done; exit 1"):
            job = self.submit("--keep", kept, "--per-host", "2", "--", "bash", "-ec", SEES % (2 * self.HOSTS) + "\n" + command)
            self.assertEqual(self.await_end(job)["ExitCode"], "0:0", self.output(job))
            self.nothing_stays()

        # A host is lost, which is not the first: the others go on.
        lost = self.path("lost")
        job = self.submit("--", "bash", "-ec", """
            cairn ns create --replicas 2 spread; cairn wait-ready --whole
            for i in 1 2 3 4 5 6 7 8; do cairn put -v $i spread s$i; done; echo stored
            until [ -e %s ]; do sleep 0.1; done
            # The workspace may be that of the lost one: all hosts are this one.
            for i in 1 2 3 4 5 6 7 8; do echo "got $(cairn --address $CAIRN_JOB_ADDRESSES get spread s$i)"; done""" % lost)
        wait_for("the job to have stored", lambda: "stored" in self.output(job))
        self.ok(run("scontrol", "update", "nodename=n%d" % self.HOSTS, "state=down", "reason=lost", env=self.env))
        name = "--set node.name=node%d " % (self.HOSTS - 1)
        wait_for("its node to be gone", lambda: not any(name in line for line in processes_below(self.scratch).values()))
        self.write("lost", b"")
        state = self.await_end(job)
        self.assertEqual(re.findall("got .*", self.output(job)), ["got %d" % i for i in range(1, 9)], self.output(job))
        self.assertEqual((state["JobState"], state["ExitCode"]), ("FAILED", "1:0"), self.output(job))
        said = self.output(job)
        self.assertIn("node %d was lost" % (self.HOSTS - 1), said)
        self.assertIn("not all nodes came to a good end", said)
        shutil.rmtree(os.path.dirname(re.search("good end: see (.*)", said).group(1)))


if __name__ == "__main__":
    main()
