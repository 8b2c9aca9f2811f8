"""The program `cairn` where no node runs: help, mistakes, completion, man page."""

import json
import os
import re
import subprocess

from systest import *


def commands():
    """All commands, from the help itself."""
    text = run(CAIRN, "help").out
    return re.findall(r"^  ((?:[a-z-]+ )?[a-z-]+) {2,}\S", text, re.M)


class WithoutNode(Case):
    def test_help_of_every_command(self):
        names = commands()
        self.assertGreater(len(names), 25)
        for name in names:
            with self.subTest(name):
                r = self.ok(run(CAIRN, *name.split(), "--help"))
                self.assertTrue(r.out.startswith("usage: cairn " + name))
                self.assertIn("Examples:", r.out)
                self.assertIn("$ ", r.out)
                self.assertEqual(self.ok(run(CAIRN, "help", *name.split())).out, r.out)
                for line in r.out.splitlines():
                    if not line.startswith("  $ "):  # an example is copied, and so no line is broken
                        self.assertLessEqual(len(line), 80)
        for line in run(CAIRN, "help").out.splitlines():
            self.assertLessEqual(len(line), 80)

    def test_usage_mistakes(self):
        self.fails(run(CAIRN), USAGE, "usage: cairn COMMAND")
        self.fails(run(CAIRN, "ns"), USAGE, "ns create")
        self.fails(run(CAIRN, "statsu"), USAGE, "did you mean 'status'?")
        for said, meant in (("ns rm x", "ns remove"), ("ns drop x", "ns remove"), ("ns delete x", "ns remove"),
                            ("delete x", "rm"), ("kv remove x", "kv rm"), ("list", "ls"), ("ns new x", "ns create"),
                            ("nodes", "members"), ("cluster", "status")):
            self.fails(run(CAIRN, *said.split()), USAGE, "did you mean '%s'?" % meant)
        self.fails(run(CAIRN, "import", "--compre", "a", "b"), USAGE, "did you mean '--compare'?")
        self.fails(run(CAIRN, "put", "ns"), USAGE, "too few operands")
        self.fails(run(CAIRN, "status", "--timeout", "long"), USAGE, "takes a time")
        for argv in (["--json", "statsu"], ["statsu", "--json"], ["--json"], ["ns", "--json"], ["ns", "creat", "-j"]):
            error = json.loads(run(CAIRN, *argv).err)
            self.assertEqual((error["version"], error["error"]["exit"]), (1, USAGE))

    def test_help_as_a_document(self):
        doc = run(CAIRN, "help", "--json").json
        self.assertEqual([c["name"] for c in doc["commands"]], commands())
        self.assertEqual([c["name"] for c in run(CAIRN, "ns", "--help", "--json").json["commands"]],
                         [name for name in commands() if name.startswith("ns ")])
        (create,) = run(CAIRN, "kv", "create", "--json", "--help").json["commands"]
        self.assertEqual((create["operands"], create["options"][0]["name"], create["options"][0]["value"]),
                         ("PROVIDER/NAME", "order", "bytes|uint"))
        self.assertEqual(run(CAIRN, "completion", "bash", "--json").json["script"], run(CAIRN, "completion", "bash").out)

    def test_no_node(self):
        nowhere = self.path("nowhere")
        for argv in (["status"], ["ls", "x"], ["ns", "list"], ["metrics"], ["machines"], ["import", "x", self.base]):
            self.fails(run(CAIRN, "--workspace", nowhere, "--timeout", "1s", *argv), UNREACHABLE, "hint:")
        self.fails(run(CAIRN, "--address", "tcp://127.0.0.1:1", "--timeout", "1s", "status"), UNREACHABLE, "cairn wait-ready",
                   "--address URL,URL")
        self.fails(run(CAIRN, "--workspace", nowhere, "wait-ready", "--timeout", "200ms"), TIMEOUT)
        for address in ("foo", "tpc://a:1", "tcp://localhost", "tcp://localhost:http"):  # no file is to be mended
            r = self.fails(run(CAIRN, "--address", address, "status"), FAILED, "--address tcp://node1:4710")
            self.assertNotIn("configuration", r.err)
        error = json.loads(run(CAIRN, "--workspace", nowhere, "--json", "--timeout", "1s", "status").err)["error"]
        self.assertEqual((error["code"], error["exit"]), ("CAIRN_E_UNREACHABLE", UNREACHABLE))

    def test_waiting_for_what_cannot_come(self):
        for argv in (["--address", "foo"], ["--address", "tcp://host"]):  # at once: no time makes it an address
            self.fails(run(CAIRN, *argv, "wait-ready", "--timeout", "%ds" % (10 * DEADLINE_S)), FAILED,
                       "--address tcp://node1:4710")
        r = run(CAIRN, "wait-ready", "--timeout", "100s", env=clean_env(CAIRN_ADDRESSES="foo"))
        self.fails(r, FAILED, "--address tcp://node1:4710")
        self.fails(run(CAIRN, "--workspace", self.path("none"), "wait-ready", "--timeout", "100ms"), TIMEOUT, "see in its log")

    def test_what_others_wrote_while_one_waits(self):
        """What a workspace says of its node is shown while its start is waited for: by all that it may hold."""
        hostile = "tcp://\033[2J\033]0;owned\007\r\n\u009b31m\u202e:1"
        for text in (json.dumps({"version": 1, "addresses": [hostile], "cluster_id": "0" * 32}),
                     json.dumps({"version": 1, "addresses": ["unix://" + self.path("\033c\nx")], "cluster_id": "0" * 32}),
                     '{"version": 1, "addresses": ["\xff\033[31m"]}', "\033[2J{", '{"\033": \x9b}'):
            self.write("ws/node.json", text.encode("latin-1" if "\xff" in text or "\x9b" in text else "utf-8"))
            argv = ["--workspace", self.path("ws"), "wait-ready", "--timeout", "300ms"]
            code, out = on_terminal([CAIRN, *argv], clean_env(TERM="xterm", NO_COLOR="1"), 80)
            self.assertEqual(code, TIMEOUT, out)
            self.assertIn(b"waiting  ", out)
            rest = out.replace(b"\r\n", b"\n").replace(b"\033[K", b"").replace(b"\r", b"")  # what the command itself sends
            self.assertFalse([c for c in rest.decode("utf-8") if (c < " " and c != "\n") or "\x7f" <= c <= "\x9f"], out)
            self.assertEqual(rest.count(b"\n"), 2, out)  # the message and its hint
            error = json.loads(self.fails(run(CAIRN, "--json", *argv), TIMEOUT).err)
            self.assertEqual((error["version"], error["error"]["exit"]), (1, TIMEOUT))

    def test_mistakes_of_cluster_commands_need_no_node(self):
        def refused(line, *said):
            self.fails(run(CAIRN, "--workspace", self.path("nowhere"), "--timeout", "100s", *line.split()), USAGE, *said)

        refused("drain --cancel --force n1", "--force is for a drain")
        refused("drain --cancel --wait n1", "wait-ready --settled")
        refused("drain --cancel --lost n1", "--lost cannot be called off")
        refused("ns create --replicas 0 data", "a number from 1 up", "on this node alone")
        refused("ns create --replicas two data", "a number from 1 up")
        refused("drain", "expected NODE")
        refused("drain n1 n2", "unexpected operand 'n2'")
        refused("drain --wait --stall soon n1", "takes a time")
        refused("members --watch --cluster", "leave out --cluster")
        refused("members --watch --names", "leave out --names")
        refused("map --people", "--people goes with --log")
        refused("where data", "expected NAMESPACE KEY")
        refused("group set", "--zone, --weight, --capacity")
        refused("group set --weight much", "takes a number")
        refused("group set --capacity much", "takes a size")

    def test_version(self):
        self.assertRegex(self.ok(run(CAIRN, "--version")).out, r"^cairn \d+\.\d+\.\d+$")
        self.assertEqual(self.ok(run(CAIRN, "version", "--json")).json["version"], 1)

    def test_full_output_is_noticed(self):
        with open("/dev/full", "w") as full:
            p = subprocess.run([CAIRN, "help"], stdout=full, stderr=subprocess.PIPE, env=clean_env(), timeout=DEADLINE_S)
        self.assertEqual(p.returncode, FAILED)
        self.assertIn(b"No space left", p.stderr)

    def test_man_pages(self):
        made = os.path.join(BUILD, "tools", "made")
        said = {"cairn.1": ["EXIT STATUS"] + ["cairn " + name for name in commands()],
                "cairnd.8": ["--check-config", "--workspace DIR", "SIGTERM"],
                "cairn.yaml.5": ["node.workers", "limits.drain", "providers[].backend", "Default: 30s."]}
        for page, texts in said.items():
            with self.subTest(page):
                r = self.ok(run("man", "--warnings", "-l", os.path.join(made, page),
                                env=clean_env(MANPAGER="cat", MANWIDTH="100", LC_ALL="C.UTF-8")))
                self.assertEqual(r.err, "")
                plain = re.sub(".\b", "", r.out)
                for text in texts:
                    self.assertIn(text, plain)

    def complete(self, line):
        """What bash offers at the end of a line, with nothing but the script loaded."""
        script = r"""
            set -u
            source <("$1" completion bash)
            PATH=$(dirname "$1"):$PATH
            COMP_LINE=$2 COMP_POINT=${#2}
            read -r -a COMP_WORDS <<<"$2"
            case $2 in *' ') COMP_WORDS+=('') ;; esac
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            COMPREPLY=()
            _cairn
            printf '%s\n' "${COMPREPLY[@]-}"
        """
        r = self.ok(run("bash", "-c", script, "bash", CAIRN, line))
        self.assertEqual(r.err, "", line)
        return r.out.split()

    def test_completion(self):
        self.assertEqual(self.ok(run("bash", "-n", stdin=run(CAIRN, "completion", "bash").out.encode())).err, "")
        self.assertIn("import", self.complete("cairn "))
        self.assertIn("ns", self.complete("cairn "))
        self.assertEqual(self.complete("cairn imp"), ["import"])
        self.assertEqual(set(self.complete("cairn ns ")), {"create", "list", "show", "remove"})
        self.assertEqual(set(self.complete("cairn map ")), {"export", "import", "log", "move"})
        self.assertEqual(self.complete("cairn map l"), ["log"])
        self.assertEqual(self.complete("cairn map --lo"), ["--log"])
        self.assertEqual(self.complete("cairn map --config /us"), ["/usr"])
        self.assertIn("--write-once", self.complete("cairn ns create --w"))
        self.assertIn("--workspace", self.complete("cairn status --w"))
        self.assertEqual(set(self.complete("cairn ns create --durability ")), {"memory", "buffered", "sync"})
        self.assertEqual(self.complete("cairn import x /us"), ["/usr"])
        self.assertEqual(self.complete("cairn bench --op kv-"), ["kv-put", "kv-get"])
        self.fails(run(CAIRN, "completion", "fish"), USAGE)


if __name__ == "__main__":
    main()
