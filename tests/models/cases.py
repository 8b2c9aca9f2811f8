"""What tests/models/run checks: one line per case.

expect: "pass" (searched whole, nothing fails), "partial" (too large for that: nothing fails as far as it goes) or "mistake"
(a rule of the protocol is left out, or the model is shown to get somewhere: an assertion must fail). Quick: every mistake, and what
ends in 20 s on one core. M_* in a pass: what is left out does no harm, README.md says why."""

import collections

Case = collections.namedtuple("Case", "expect model defines search seconds quick name")
CASES = []


def case(expect, model, defines, search, seconds, quick):
    CASES.append(Case(expect, model, defines, search, seconds, quick, " ".join((model + " " + defines).split())))


def passes(model, lines, search="dfs", quick=False):
    for defines in lines.strip("\n").split("\n"):
        case("pass", model, defines.strip(), search, 200 if quick else 900, quick)


def mistakes(model, lines, base="", search="bfs"):
    for defines in lines.split("\n"):
        if defines.strip():
            case("mistake", model, (base + " " + defines.strip()).strip(), search, 300, True)


# ---- repl.pml ----
passes("repl", """
-DNE=3 -DCRASHES=0 -DBREAD -DNN=2
-DNE=3 -DCRASHES=1 -DBREAD -DNN=1
-DNE=3 -DCRASHES=1 -DVOLFENCE -DNN=1
-DNE=3 -DCRASHES=0 -DNN=2 -DM_NO_LEASE_WAIT -DWRITESONLY
""", quick=True)
passes("repl", """
-DNE=3 -DCRASHES=1
-DNE=3 -DCRASHES=1 -DSYNC
-DNE=4 -DCRASHES=2 -DNREQ=1 -DNN=1 -DSYNC
-DNE=4 -DCRASHES=2 -DWIPE -DNREQ=1 -DNN=1
-DNE=3 -DCRASHES=1 -DSYNC -DNN=2 -DBLIND
-DNE=4 -DCRASHES=2 -DNREQ=1 -DNN=1 -DBLIND
-DNE=4 -DCRASHES=2 -DNREQ=1 -DNN=1 -DSYNC -DBLIND
-DLIVE -DNE=7 -DCRASHES=1 -DNREQ=1 -DNN=1
""")
for d in ("-DNE=4 -DCRASHES=2 -DNN=2", "-DNE=4 -DCRASHES=2 -DNN=2 -DSYNC", "-DLIVE -DNE=7 -DCRASHES=1 -DNN=2 -DSYNC"):
    case("partial", "repl", d, "bits", 400, False)
mistakes("repl", """
-DNE=3 -DCRASHES=0 -DM_ACK_BEFORE_REMOVE
-DNE=3 -DCRASHES=0 -DM_NO_LEASE_WAIT
-DNE=3 -DCRASHES=0 -DM_READ_NO_LEASE
-DNE=3 -DCRASHES=1 -DM_STALE_REENTRY
-DNE=3 -DCRASHES=0 -DM_DEDUP_LOCAL
-DNE=3 -DCRASHES=0 -DM_DEDUP_NO_PENDING
-DNE=3 -DCRASHES=0 -DM_NO_RECONCILE
-DNE=3 -DCRASHES=0 -DBREAD -DM_TRUNC_TO_COMMIT
-DNE=3 -DCRASHES=0 -DM_MATCH_BY_N
-DNE=3 -DCRASHES=0 -DM_NO_FENCE
-DNE=4 -DCRASHES=0 -DM_JOIN_DROP -DNN=2
-DNE=4 -DCRASHES=0 -DM_JOIN_EARLY -DNN=2
-DNE=4 -DCRASHES=1 -DM_JOIN_NO_INC -DNN=1 -DNREQ=1
-DNE=3 -DCRASHES=0 -DBREAD -DM_BREAD_PENDING
-DNE=3 -DCRASHES=0 -DBREAD -DM_BREAD_NOTFOUND
-DNE=3 -DCRASHES=2 -DM_RECOVER_FIRST -DNN=2 -DNREQ=1
-DNE=4 -DCRASHES=1 -DM_RECOVER_STALESET -DNN=1 -DNREQ=1
""")
mistakes("repl", """
-DLIVE -DNE=7 -DCRASHES=1 -DNREQ=1 -DNN=1 -DPROBE
-DLIVE -DNE=7 -DCRASHES=0 -DNREQ=1 -DNN=1 -DHANDOVER -DSTATES -DPROBE
-DLIVE -DNE=7 -DCRASHES=1 -DNREQ=1 -DNN=1 -DM_JOIN_NEVER_REFUSED
""", search="dfs")

# Hand-over by RELEASE, the record's state, maps skipped.
passes("repl", """
-DNE=3 -DCRASHES=0 -DHANDOVER -DSKIP -DNN=2
-DNE=3 -DCRASHES=1 -DHANDOVER -DNN=1
-DNE=4 -DCRASHES=0 -DHANDOVER -DSTATES -DSKIP -DNN=1 -DNREQ=1
-DNE=4 -DCRASHES=0 -DHANDOVER -DSTATES -DSKIP -DNN=1 -DNREQ=1 -DM_NO_SINCE
-DNE=3 -DCRASHES=0 -DHANDOVER -DNN=2 -DM_RELEASE_UNCOMMITTED
""", quick=True)
passes("repl", """
-DNE=4 -DCRASHES=1 -DHANDOVER -DSTATES -DSKIP -DNN=1 -DNREQ=1
-DNE=4 -DCRASHES=1 -DHANDOVER -DSTATES -DSKIP -DNN=1 -DNREQ=1 -DSYNC
-DNE=4 -DCRASHES=1 -DHANDOVER -DSTATES -DSKIP -DNN=1 -DNREQ=1 -DBLIND
-DNE=4 -DCRASHES=1 -DHANDOVER -DSTATES -DSKIP -DNN=1 -DNREQ=1 -DM_NO_SINCE
-DNE=3 -DCRASHES=1 -DHANDOVER -DSYNC -DNN=2 -DNREQ=1
-DNE=3 -DCRASHES=1 -DHANDOVER -DNN=2 -DM_RELEASE_UNCOMMITTED
-DLIVE -DNE=7 -DCRASHES=0 -DNREQ=1 -DNN=1 -DHANDOVER -DSTATES
""")
case("partial", "repl", "-DNE=5 -DCRASHES=1 -DHANDOVER -DSTATES -DSKIP -DNN=2", "bits", 400, False)
mistakes("repl", """
-DNE=3 -DCRASHES=0 -DHANDOVER -DM_RELEASE_WORD_FIRST
-DNE=3 -DCRASHES=0 -DHANDOVER -DM_RELEASED_SERVES
-DNE=4 -DCRASHES=0 -DHANDOVER -DNN=1 -DNREQ=1 -DM_RELEASE_NO_CAS
""")

# Processes that leave before they stop.
LEAVE = "-DCRASHES=0 -DHANDOVER -DLEAVE -DNREQ=1 -DNN=1"
passes("repl", "-DNE=3 %s\n-DLIVE -DNE=9 %s" % (LEAVE, LEAVE), quick=True)
passes("repl", "-DNE=4 %s\n-DNE=4 %s -DSYNC" % (LEAVE, LEAVE))
case("partial", "repl", "-DLIVE -DNE=12 -DLEAVES=3 " + LEAVE, "bits", 400, False)
mistakes("repl", "-DM_LEAVER_NOT_WAITED_FOR\n-DM_STOP_NO_FLUSH", "-DNE=4 " + LEAVE)
mistakes("repl", "-DPROBE\n-DM_LEAVES_STICK\n-DM_LEAVE_NO_WORD", "-DLIVE -DNE=9 " + LEAVE, search="dfs")

# Regions that entries name, fetched from who sent the entry.
REGIONS = "-DNE=3 -DREGIONS -DNREQ=1 -DNN=1 -DCRASHES=1"
passes("repl", REGIONS, quick=True)
passes("repl", REGIONS + " -DSYNC")
case("partial", "repl", "-DNE=3 -DREGIONS -DNREQ=2 -DNN=2 -DCRASHES=0", "bits", 400, False)
mistakes("repl", "-DM_NO_ADMIT\n-DM_GONE_ANY\n-DM_GONE_DEPOSED\n-DM_SWEEP_LOG", REGIONS)
CUTS = "-DLIVE -DNE=3 -DREGIONS -DNREQ=1 -DNN=1 -DCRASHES=2 -DCUTS"
passes("repl", CUTS)
case("mistake", "repl", CUTS + " -DM_SWEEP_CUT", "dfs", 900, True)

# Who is in sync alone needs no lease.
ALONE = "-DALONE -DONE -DNREQ=1 -DNN=1"
passes("repl", "-DNE=4 -DCRASHES=0 %s -DHANDOVER -DSTATES -DSKIP\n-DNE=4 -DCRASHES=1 %s" % (ALONE, ALONE), quick=True)
passes("repl", """
-DNE=4 -DCRASHES=0 -DALONE -DONE -DNN=2
-DNE=4 -DCRASHES=1 -DALONE -DONE -DNN=2 -DNREQ=1 -DSYNC
-DNE=4 -DCRASHES=2 -DALONE -DONE -DNN=1 -DNREQ=1 -DBLIND
-DNE=4 -DCRASHES=0 -DALONE -DONE -DNN=1 -DNREQ=1 -DBREAD
-DNE=4 -DCRASHES=1 -DALONE -DNN=1 -DNREQ=1 -DHANDOVER -DSKIP
""")
mistakes("repl", "-DM_ALONE_JOINING\n-DM_ALONE_ALWAYS\n-DM_ALONE_GIVEN_UP", "-DNE=4 -DCRASHES=0 " + ALONE)

# ---- election.pml ----
# Depth first: states within a tick, which is atomic, are not stored then, and most states are.
passes("election", "-DNR=2\n-DSELF", quick=True)
passes("election", "-DNR=3\n-DSELF -DNR=4")
mistakes("election", "\n".join("-D" + m for m in """PROBE WAIT=4 M_NO_FENCE_REV M_PROMOTE_AT_ONCE
M_GRANT_INVALID M_GRANT_WHILE_STORING M_UNKNOWN_IS_NO M_RESUME_TERM""".split()), "-DNR=2")
mistakes("election", "-DM_NO_FENCE_REV -DHARM\n-DTV=4 -DM_ELECTED_FROM_SENT", "-DNR=2")
mistakes("election", "\n".join("-D" + m for m in """PROBE T=2 M_VALID_FROM_RECEIPT M_PROMOTE_AT_ONCE M_SELF_GRANT_LONG
M_KEEP_OLD_GRANT M_LATE_GRANT M_NO_MARK M_GRANT_UNNOTED M_RESIGN_FIRST""".split()), "-DSELF")

# ---- succession.pml ----
passes("succession", "-DB=4\n-DEAGER -DB=11", "bfs", quick=True)
mistakes("succession", "-DPROBE\n-DL=40\n-DB=5\n-DEAGER -DB=12\n-DEAGER -DG=30")

# ---- migr.pml ----
passes("migr", "-DCRASHES=1", "bfs", quick=True)
passes("migr", "-DCRASHES=2", "bfs")
mistakes("migr", "\n".join("-D" + m for m in """PROBE M_NO_TOMBSTONE M_DEDUP_LOCAL M_DEDUP_NOT_COPIED M_ENTRY_FIRST
M_ACK_WITHOUT_JOINER M_COPY_OVERWRITES M_COPY_UNCOMMITTED M_SWITCH_EARLY M_NO_CATCHUP M_JOIN_NO_INC M_NO_RELEASE
M_CLEAN_EARLY M_STALE_TARGET""".split()))

# ---- lease.pml ----
passes("lease", "-DNT=6", "bfs", quick=True)
passes("lease", "-DWAIT=20\n-DWAIT=19\n-DWAIT=16", "bfs")
mistakes("lease", "\n".join("-D" + m for m in """WAIT=15 WAIT=12 RLO=2 M_NO_WAIT M_FROM_RECEIPT M_NEWLEADER_NO_WAIT
M_CHECK_FIRST""".split()))

# ---- extent.pml ----
passes("extent", "", "dfs", quick=True)
mistakes("extent", "\n".join("-D" + m for m in """M_GC_NO_PIN M_ENTRY_FIRST M_NO_REGION_SYNC M_FREE_BEFORE_SYNC
M_READ_NO_PIN""".split()))

# ---- sweep.pml ----
passes("sweep", "-DNW=2", "bfs", quick=True)
case("partial", "sweep", "-DNW=3", "bits", 400, False)
mistakes("sweep", "\n".join("-D" + m for m in """M_NO_ADMIT M_PAGE_NO_ADMIT M_SWEEP_NO_LOG M_SWEEP_NO_FLUSH M_PAGE_UNSEEN
M_NO_CATCHUP M_PINS_FIRST M_RECORDS_FIRST M_NO_DOOM""".split()), "-DNW=2")
mistakes("sweep", "-DNW=3 -DPROBE")

# ---- fill.pml ----
passes("fill", "-DFROM=NONE\n-DLEAD\n-DFROM=0\n-DFROM=1\n-DLIVE -DNE=14", quick=True)
passes("fill", "-DLIVE -DNE=14 -DLEAD\n-DLIVE -DNE=14 -DFROM=0\n-DLIVE -DNE=14 -DFROM=1\n-DNE=7 -DCRASHES=2")
mistakes("fill", "\n".join("-D" + m for m in "M_NO_REPLICA M_STALE_TARGET M_NO_CATCHUP M_JOIN_EARLY".split()))
mistakes("fill", "-DM_LEAVES_TOO_FEW\n-DM_STAYS_JOINED", "-DFROM=1")
mistakes("fill", "-DPROBE\n-DM_LEFT_OPEN\n-DLEAD -DM_LED_LEFT_OPEN\n-DM_TARGET_INC", "-DLIVE -DNE=14", search="dfs")
