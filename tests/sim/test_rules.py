"""Every invariant of PROTOCOL §9 and every rule of MAP (§3) has a row in server/cluster/repl/README.md, and what the
row names is there: functions that assert it, and a mistake that is seeded. The mistakes can still be made: their texts
are in the code, their stories in the tests, and tests/sim/README.md tells of each."""

import pathlib
import re
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
import mistakes  # noqa: E402

RULES = [f"I{i}" for i in range(1, 17)] + [f"M{i}" for i in range(1, 8)]
CODE = ("server/cluster", "server/router", "providers/kv", "tests/sim")


def rows():
    """By rule: the cells of its row."""
    text = (ROOT / "server/cluster/repl/README.md").read_text()
    found = {}
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        rule = cells[0].split(" ")[0]
        if line.startswith("|") and rule in RULES:
            found[rule] = cells
    return found


def definitions():
    """Names of functions that C sources define or declare."""
    names = set()
    for folder in CODE:
        for path in (ROOT / folder).rglob("*.[ch]"):
            names |= set(re.findall(r"^[a-z][^;={}#\n]*?\b(\w+)\(", path.read_text(), re.M))
    return names


class Rules(unittest.TestCase):
    def test_each_rule_has_a_row(self):
        self.assertEqual(RULES, sorted(rows(), key=RULES.index))

    def test_each_is_asserted_by_what_there_is(self):
        known = definitions()
        for rule, cells in rows().items():
            for place in cells[1:3]:  # in the code, and in the simulator
                named = [n for n in re.findall(r"`(\w+)`", place) if n != "sync"]
                self.assertTrue(named, f"{rule}: asserted nowhere: {place}")
                self.assertEqual([], [n for n in named if n not in known], rule)

    def test_each_is_shown_to_bite(self):
        for rule, cells in rows().items():
            named = re.findall(r"M_\w+", cells[3])
            self.assertTrue(named, rule)
            self.assertEqual([], [n for n in named if n not in mistakes.MISTAKES], rule)

    def test_mistakes_can_be_made(self):
        for name, changes in mistakes.MISTAKES.items():
            texts = {}
            for path, old, new in changes:  # in this order: one may stand on what another has made
                text = texts.get(path) or (ROOT / path).read_text()
                self.assertTrue(old in text, f"{name}: not in {path}: {old}")
                texts[path] = text.replace(old, new)

    def test_stories_are_there(self):
        for name, (path, story) in mistakes.STORIES.items():
            self.assertIn(name, mistakes.MISTAKES)
            self.assertIn(f"static void {story}(", (ROOT / path).read_text(), name)

    def test_mistakes_are_told_of(self):
        text = (HERE / "README.md").read_text()
        self.assertEqual([], [n for n in mistakes.MISTAKES if not re.search(rf"\b{n}\b", text)])


if __name__ == "__main__":
    unittest.main()
