"""What a client is told of a write when its time is over: that nothing was done, or that nobody can tell yet."""

import signal

from faults import Faults, main
from systest import OK, TIMEOUT, UNREACHABLE, tries, wait_for


class Undecided(Faults):
    def put(self, namespace, key, value, *more):
        return self.all[0].cairn(*more, "put", "-v", value, namespace, key)

    def led_by(self, node, namespace):
        """A key of a slot that this node leads."""
        for i in range(1000):
            said = node.cairn("where", "--json", namespace, "k%d" % i)
            if said.code == OK and [r["name"] for r in said.json["replicas"] if r["role"] == "primary"] == [node.name]:
                return "k%d" % i
        return self.fail("%s leads nothing" % node.name)

    def test_what_is_told(self):
        self.begin(replicas=3)
        self.whole()
        first, others = self.all[0], self.all[1:]
        key, once = self.led_by(first, "many"), self.led_by(first, "once")
        self.ok(self.put("many", key, "before"))

        for _ in tries("a write that came to a log before its leader's lease was over"):
            if self.is_in_one_log(key, once):
                break
        self.assertEqual(self.ok(first.cairn("get", "many", key)).out, "before")

        # Whichever it became, it stays.
        self.ok_or_exists(self.put("once", once, "later"))
        became = {self.ok(n.cairn("get", "once", once)).out for n in self.all}
        self.assertIn(became, ({"perhaps"}, {"later"}))

        # Where fewer are left than a write wants (M7), reads go on; and when they are back, writes do.
        for node in others:
            node.kill()
        wait_for("that writes are refused", lambda: self.all_refuse(first))
        told, may_be = [], {"before"}

        def is_refused():  # whoever leads the slot hears of it a moment after the coordinator has counted it
            told.append(self.put("many", key, "never", "--timeout", "3s"))
            self.assertIn(told[-1].code, (TIMEOUT, UNREACHABLE), str(told[-1]))
            if "may have been done" in told[-1].err:
                may_be.add("never")
            return "nothing was done" in told[-1].err

        wait_for("a refusal", is_refused)
        self.assertIn(self.ok(first.cairn("get", "many", key)).out, may_be)
        for node in others:
            node.start()
        self.whole()
        self.assertIn(self.ok(first.cairn("get", "many", key)).out, may_be)
        self.ok(self.put("many", key, "after"))
        self.assertEqual({self.ok(n.cairn("get", "many", key)).out for n in self.all}, {"after"})

    def is_in_one_log(self, key, once):
        """All who have to have it stand still, and nobody can be told to do without them: it is in one log, and may be in all of
        them later, or in none."""
        others = self.all[1:]
        self.kill_store("store")
        for node in others:
            node.send(signal.SIGSTOP)
        told = self.put("once", once, "perhaps", "--timeout", "2s")
        # Without a session nothing is written to the key of the other namespace, and one is not to be had.
        never = self.put("many", key, "never", "--timeout", "3s")
        for node in others:
            node.send(signal.SIGCONT)
        self.start_store("store")
        self.whole()
        for result in told, never:
            self.assertIn(result.code, (TIMEOUT, UNREACHABLE), str(result))
        self.assertNotIn("may have", never.err)
        if "it may have been done" not in told.err or "nothing was done" not in never.err:
            return False
        self.assertNotIn("nothing was done", told.err)
        return True

    def all_refuse(self, node):
        classes = node.cairn("status", "--json").json.get("cluster", {}).get("classes", [])
        return classes and all(c["refusing"] == c["slots"] for c in classes)

    def ok_or_exists(self, result):
        if result.code != OK:
            self.assertIn("exists already", result.err)


if __name__ == "__main__":
    main()
