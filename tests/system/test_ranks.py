"""Jobs of four ranks on this machine: their nodes find each other by MPI and by PMIx, or all ranks hear why not.

Skipped, with a plain message, where the programs were not built (CAIRN_WITH_MPI, CAIRN_WITH_PMIX) or there is no mpirun."""

import json
import os
import shutil
import subprocess
import time
import unittest

from systest import BUILD, CAIRN, CAIRND, DEADLINE_S, OK, SOURCE, USAGE, Case, clean_env, main, run, wait_for

RANKS = 4
LAUNCHER = "mpirun --oversubscribe --mca btl self,vader --mca plm isolated"


class Ranks:
    """The stories, once for each way."""

    def setUp(self):
        super().setUp()
        self.program = os.path.join(BUILD, "bin", "cairn-ranks-" + self.way)
        if not os.path.exists(self.program):
            self.skipTest("cairn-ranks-%s was not built: this build found no %s" % (self.way, self.way.upper()))
        with open(os.path.join(BUILD, "CMakeCache.txt")) as cache:
            if "CAIRN_SANITIZE:STRING=thread" in cache.read():
                self.skipTest("MPI and PMIx were not built for the thread sanitizer, which takes their locks for races")
        if shutil.which("mpirun") is None:
            self.skipTest("mpirun is not there (deploy/install-deps test)")
        # What MPI itself leaves behind at its end is not ours to mend.
        self.env = clean_env(CAIRN_BIN=os.path.join(BUILD, "bin"), OMPI_ALLOW_RUN_AS_ROOT="1",
                             OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", TMPDIR=self.path(""),
                             ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")
        self.jobs = self.path("j")
        os.makedirs(self.jobs)

    def job(self, *argv):
        script = os.path.join(SOURCE, "deploy", "jobs", "group-" + self.way)
        return run(script, "-n", str(RANKS), "--dir", self.jobs, "--launcher", LAUNCHER, *argv, env=self.env)

    def direct(self, script, *more):
        """A job without our script: each rank runs a shell script, which knows its number as $r."""
        text = "#!/bin/bash\nr=${PMIX_RANK:-$OMPI_COMM_WORLD_RANK}\nd=%s\n%s\n" % (self.jobs, script)
        path = self.write("rank", text.encode())
        os.chmod(path, 0o755)
        return run(*LAUNCHER.split(), "-n", str(RANKS), path, env=self.env)

    CONFIG = """
mkdir -p $d/$r; umask 077; echo %s > $d/$r/key
cat > $d/$r/c.yaml <<END
node: {name: ${name:-n$r}, cluster: 00112233445566778899aabbccddeeff, data: $d/$r/data, workers: 1, log_file: $d/$r/log}
workspace: $d/$r/ws
auth: {key_file: ${key:-$d/$r/key}}
listen: ['unix://node.sock']
providers:
  - {type: kv, name: kv, backend: memory}
  - {type: extent, name: extent, backend: memory}
  - {type: group, name: group, listen: 'udp://127.0.0.1:0'}
END
""" % ("ab" * 32)

    def test_four_ranks_become_a_group(self):
        done = self.job("sh", "-c", "exec %s members --json >%s.$PMIX_RANK" % (CAIRN, self.path("seen")))
        self.assertEqual(done.code, OK, done)
        for i in range(RANKS):
            with open(self.path("seen.%d" % i)) as f:
                seen = sorted((m["name"], m["state"]) for m in json.load(f)["members"])
            self.assertEqual([name for name, _ in seen], ["rank%d" % k for k in range(RANKS)])
            self.assertLessEqual({state for _, state in seen}, {"alive", "suspect"})  # who is late, for a moment
        self.assertEqual(os.listdir(self.jobs), [])

    def test_the_commands_end_before_a_node_leaves(self):
        """The last one still sees all, though the others have long ended."""
        done = self.job("sh", "-c", "case $CAIRN_WORKSPACE in */3/ws) sleep 3; exec %s members;; esac" % CAIRN)
        self.assertEqual(done.code, OK, done)
        self.assertEqual(done.out.count(" alive "), RANKS, done)

    def test_what_a_command_says_is_what_the_job_says(self):
        done = self.job("sh", "-c", "exit 7")
        self.assertEqual(done.code, 7, done)
        for wrong, said in (((), "no command"), (("--nodes", "x"), "unknown option '--nodes'")):
            done = self.job(*wrong)
            self.assertEqual(done.code, USAGE, done)
            self.assertIn(said, done.err)

    def test_a_job_that_is_ended_leaves_nothing_behind(self):
        script = os.path.join(SOURCE, "deploy", "jobs", "group-" + self.way)
        started, ended = self.path("started"), self.path("ended")
        command = "echo >>%s; trap 'echo $$ >>%s; exit 0' TERM; while :; do sleep 0.1; done" % (started, ended)
        job = subprocess.Popen([script, "-n", str(RANKS), "--dir", self.jobs, "--launcher", LAUNCHER, "sh", "-c", command],
                               env=self.env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(job.wait)
        self.addCleanup(job.kill)
        wait_for("the commands", lambda: os.path.exists(started) and os.path.getsize(started) == RANKS)
        job.terminate()
        self.assertNotEqual(job.wait(DEADLINE_S), OK)
        with open(ended) as f:  # a launcher may say it twice, while the command is at its end
            self.assertEqual(len(set(f)), RANKS)
        self.assertEqual(os.listdir(self.jobs), [])

    def test_all_ranks_hear_that_one_has_no_node(self):
        done = self.direct(self.CONFIG + "[ $r != 2 ] || echo nonsense > $d/$r/c.yaml\n"
                           "exec %s $d/$r/c.yaml touch $d/ran$r" % self.program)
        self.assertNotEqual(done.code, OK)
        self.assertIn("rank 2: it has no node", done.err)
        self.assertEqual([f for f in os.listdir(self.jobs) if f.startswith("ran")], [])

    def test_all_ranks_hear_of_a_name_that_is_there_twice(self):
        done = self.direct("[ $r != 3 ] || name=n1\n" + self.CONFIG +
                           "exec %s $d/$r/c.yaml touch $d/ran$r" % self.program)
        self.assertNotEqual(done.code, OK)
        self.assertIn("the nodes of ranks 1 and 3 are both called n1", done.err)
        self.assertEqual([f for f in os.listdir(self.jobs) if f.startswith("ran")], [])

    def test_a_rank_that_does_not_come_costs_the_time_given(self):
        """Rank 1 waits for its key, which nobody writes into the pipe."""
        began = time.monotonic()
        done = self.direct("if [ $r = 1 ]; then mkfifo -m 600 $d/pipe; key=$d/pipe; fi\n" + self.CONFIG +
                           "exec %s --timeout 3 $d/$r/c.yaml touch $d/ran$r" % self.program)
        self.assertNotEqual(done.code, OK)
        self.assertIn("not all ranks came to the join within 3000 ms", done.err)
        self.assertGreater(time.monotonic() - began, 2.9)
        self.assertEqual([f for f in os.listdir(self.jobs) if f.startswith("ran")], [])

    def test_a_program_outside_of_a_job_says_so(self):
        done = run(self.program, env=self.env)
        self.assertEqual(done.code, USAGE)
        self.assertIn("usage: cairn-ranks-" + self.way, done.err)


class Mpi(Ranks, Case):
    way = "mpi"


class Pmix(Ranks, Case):
    way = "pmix"


class Elsewhere(unittest.TestCase):
    def test_nobody_else_links_what_launchers_bring(self):
        for name in (CAIRN, CAIRND, os.path.join(BUILD, "sdk", "libcairn.so"),
                     os.path.join(BUILD, "providers", "libcairn-server.so")):
            linked = subprocess.run(["ldd", name], capture_output=True, text=True, check=True).stdout
            self.assertIn("libc.so", linked)
            for library in ("libmpi", "libopen-rte", "libpmix", "libfabric"):
                self.assertNotIn(library, linked, name)


if __name__ == "__main__":
    main()
