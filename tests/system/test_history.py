"""The judge of histories is judged: good ones made by chance pass, and none with a seeded mistake does."""

import os
import random
import unittest

from systest import BUILD, Case, main, run

CHECK = os.path.join(BUILD, "bin", "history_check")
SEEDS = range(25)


class Op:
    def __init__(self, worker, key, kind, value, begin):
        self.worker, self.key, self.kind, self.value, self.begin = worker, key, kind, value, begin
        self.outcome, self.end = "ok", None

    def lines(self):
        yield self.begin, "i %d %s %s %d %d" % (self.worker, self.key, self.kind, 0 if self.kind == "get" else self.value,
                                                self.begin)
        if self.end is not None:
            yield self.end, "o %d %s %d %d" % (self.worker, self.outcome, self.value, self.end)


def good(seed, n=400, workers=5, keys=3, unknown=0.03):
    """Operations that each happened at one moment between begin and end; some never learned that they did, or did not."""
    dice = random.Random(seed)
    free, now, values, ops = [0] * workers, 0, {}, []
    for count in range(1, n + 1):
        worker = min(range(workers), key=lambda w: free[w])
        now = max(now, free[worker]) + dice.randint(1, 3)  # the moment at which it happens
        begin = max(free[worker] + 1, now - dice.randint(0, 8))
        kind = dice.choice(["put", "put", "get", "get", "get", "new", "erase"])
        op = Op(worker, "k%d" % dice.randrange(keys), kind, 0, begin)
        known, happens = dice.random() >= unknown, dice.random() > 0.5
        held = values.get(op.key, 0)
        if kind == "get":
            op.value, op.outcome = held, "ok" if held else "none"
        elif known or happens:
            op.value = count if kind in ("put", "new") else 0
            if kind == "new" and held:
                op.outcome = "exists"
            else:
                values[op.key] = op.value
        else:
            op.value = count if kind in ("put", "new") else 0
        free[worker] = now + dice.randint(1, 8)
        op.end = free[worker] if known else None
        ops.append(op)
    at = max(free) + 10
    for i in range(keys):  # what history_client's `read` does
        op = Op(workers, "k%d" % i, "get", values.get("k%d" % i, 0), at + 2 * i)
        op.outcome, op.end = "ok" if op.value else "none", op.begin + 1
        ops.append(op)
    return ops


def lost_at_the_end(ops, dice):
    """The last write was acknowledged, and what is read at the end is what was there before it."""
    op = Op(0, "k%d" % dice.randrange(3), "put", 1000, max(o.end for o in ops if o.worker < 5) + 2)
    op.end = op.begin + 2
    ops.append(op)


def stale(ops, dice):
    """A read gives what a later write had replaced, long before."""
    reads = [o for o in ops if o.kind == "get" and o.end]
    for op in dice.sample(reads, len(reads)):
        puts = [o for o in ops if o.kind == "put" and o.key == op.key and o.end and o.end < op.begin]
        puts.sort(key=lambda o: o.end)
        if len(puts) > 3 and puts[0].end < puts[-1].begin and puts[0].value != op.value:
            op.value, op.outcome = puts[0].value, "ok"
            return
    raise AssertionError("no read to spoil")


def from_nowhere(ops, dice):
    """A read gives what nobody wrote."""
    op = dice.choice([o for o in ops if o.kind == "get" and o.end])
    op.value, op.outcome = 999999, "ok"


def from_the_future(ops, dice):
    """A read gives what is only written after it."""
    for op in [o for o in ops if o.kind == "get" and o.end]:
        later = [o for o in ops if o.kind == "put" and o.key == op.key and o.begin > op.end]
        if later:
            op.value, op.outcome = dice.choice(later).value, "ok"
            return


def new_twice(ops, dice):
    """Two that write only where nothing is both did, and nobody erased between them."""
    end = max(o.end or 0 for o in ops) + 10
    for i in range(2):
        op = Op(6 + i, "fresh", "new", 1000 + i, end)
        op.end = end + 100
        ops.append(op)


def write_undone(ops, dice):
    """An acknowledged write, seen by one, is not there for the next."""
    end = max(o.end or 0 for o in ops) + 10
    for worker, kind, value, outcome in (6, "put", 1000, "ok"), (7, "get", 1000, "ok"), (8, "get", 0, "none"):
        op = Op(worker, "fresh", kind, value, end)
        op.outcome, op.end = outcome, end + 5
        end += 10
        ops.append(op)


MISTAKES = [lost_at_the_end, stale, from_nowhere, from_the_future, new_twice, write_undone]


class History(Case):
    def judge(self, ops):
        """As of two processes, each with a file of its own."""
        paths = [self.path("even"), self.path("odd")]
        for i, path in enumerate(paths):
            lines = sorted(line for o in ops if o.worker % 2 == i for line in o.lines())
            with open(path, "w") as f:
                f.writelines(text + "\n" for _, text in lines)
        return run(CHECK, *paths)

    def test_good_ones_pass(self):
        for seed in SEEDS:
            result = self.ok(self.judge(good(seed)))
            self.assertEqual(result.json["keys"], 3)
            self.assertEqual((result.json["wrong"], result.json["undecided"]), (0, 0))

    def test_no_mistake_passes(self):
        for mistake in MISTAKES:
            for seed in SEEDS:
                ops = good(seed, unknown=0)  # what nobody knows may excuse the mistake
                mistake(ops, random.Random(seed))
                result = self.judge(ops)
                self.assertEqual((result.code, result.json["wrong"]), (1, 1), "%s, seed %d: %s" % (mistake.__name__, seed, result))
                self.assertIn("this cannot have happened", result.err)

    def test_a_value_that_nobody_wrote_whole(self):
        with open(self.path("h"), "w") as f:
            f.write("i 1 k put 5 10\no 1 ok 5 11\ni 1 k get 0 12\no 1 damaged 5 13\n")
        self.assertEqual(run(CHECK, self.path("h")).json["wrong"], 1)

    def test_what_is_no_history(self):
        for text in "i 1 k move 5 10\n", "o 1 ok 5 11\n", "i 99999 k put 5 10\n", "hello\n":
            with open(self.path("h"), "w") as f:
                f.write(text)
            self.assertEqual(run(CHECK, self.path("h")).code, 2, text)


if __name__ == "__main__":
    main()
