"""What the tests of real faults find: their histories, judged and summed up."""

import json
import os
import subprocess
import sys

from .procs import Failed

SYSTEM = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "system")
SKIPPED = 77  # this machine can run no test of that file: systest.main()
OTHERS = ["test_cluster_killed.py", "test_cluster_store.py", "test_rolling.py"]  # faults, and what is acknowledged meanwhile
QUICK = [("test_faults_network.py", "Network.test_cuts"), ("test_faults_nodes.py", "Nodes.test_killed_again_and_again")]


def stories():
    return [(name,) for name in sorted(n for n in os.listdir(SYSTEM) if n.startswith("test_faults_")) + OTHERS]


def histories(bench):
    """Keys whose history cannot have happened one operation after the other, or could not be decided: an acknowledged write that is
    lost and a value that changes are such. A test that fails for any other reason is told, and its histories count."""
    told = os.path.join(bench.work, "verdicts")
    env = {**os.environ, **({} if bench.quick else {"CAIRN_FAULTS_LONG": "1"}), "CAIRN_BUILD": os.path.abspath(bench.build), "CAIRN_VERDICTS": told}
    failed, skipped = [], 0
    for story in QUICK if bench.quick else stories():
        path = os.path.join(SYSTEM, story[0])
        ran = subprocess.run([sys.executable, "-B", path, *story[1:]], env=env, stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, timeout=3600)
        not_here = [line for line in ran.stdout.splitlines() if line.startswith("skipped: ")]  # of a file that passes, too
        skipped += len(not_here)
        if not_here:
            print("\n".join(not_here), file=sys.stderr)
        if ran.returncode not in (0, SKIPPED):
            failed.append(story[0])
            print(ran.stderr[-4000:], file=sys.stderr)
    if not os.path.exists(told):
        raise Failed("no history was judged: %s" % (" ".join(failed) or "the tests were skipped"))
    with open(told) as f:
        verdicts = [json.loads(line) for line in f]
    return {"cluster.faults.wrong": sum(v["wrong"] + v["undecided"] for v in verdicts),
            "cluster.faults.acknowledged": sum(v["acknowledged"] for v in verdicts),
            "cluster.faults.histories": sum(v["keys"] for v in verdicts), "cluster.faults.failed": len(failed),
            "cluster.faults.skipped": skipped}
