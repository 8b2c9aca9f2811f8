/* sweep.pml - regions of one key whose values replace each other: a primary
 * that trims its log, sweeps and copies; a replica that comes and goes, and may
 * lead when it is in sync.  Write w (1, 2, ..) is the entry at position w and
 * names region w; one epoch, so logs differ in length alone (repl.pml has the
 * rest).  What was sent may come at any later time.
 *
 * A region is freed where no entry of the log names it, no record, and no page
 * that is being put; and nothing that a crash brings back.  "Gone" is the word
 * of the one that leads: what is replaced there by a committed entry.
 * mistakes: M_*, each left out of a rule
 */
#ifndef NW
#define NW 3
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#define BIT(w) (1<<(w))
/* the one that leads: the end of its log, of what is synced of it; its newest record (what is committed), that on disk;
   where its log begins; its regions */
byte pe; byte ps; byte pc; byte pk; byte pb; byte ph;
/* the replica: the same, and the regions of which it was told that they are gone */
byte be; byte ba; byte bk; byte bb; byte bs; byte bh; byte bgone;
bool member;            /* in sync */
byte matched;           /* as the primary knows */
byte view; byte page;   /* a copy: of what moment; the page is being put */
byte pin; byte named;   /* regions that were looked for; of these, what a log names or a page that is put: the next sweep lets go */
byte st; byte cand; byte doom;  /* the replica's sweep */
byte sent;              /* entries that were ever sent */
byte csent;             /* the newest commit mark that was */
byte crashes = CRASHES;
hidden byte h_i; hidden byte h_f;

/* a sweep: a log from @b to @e, records of @a in memory and of @k on disk, regions @h, of which @x is pinned */
#ifdef M_SWEEP_NO_LOG
#define NAMED(w,b,e) false
#else
#define NAMED(w,b,e) (w>b && w<=e)
#endif
#ifdef M_SWEEP_NO_FLUSH
#define DURABLE(w,k) true
#else
#define DURABLE(w,k) (w!=k)     /* what a crash brings back does not name it */
#endif
#define SWEEP(e,b,a,k,h,x) \
  :: d_step { h!=0 -> \
       h_f = h; h_i = 1; \
       do :: h_i <= NW -> if :: NAMED(h_i,b,e) || h_i==a || !DURABLE(h_i,k) || h_i==(x) -> h_f = h_f & ~BIT(h_i) :: else fi; h_i++ :: else -> break od; \
       h = h & ~h_f; h_f = 0; h_i = 0 }

/* whoever looks pins; what is pinned and on disk, or gone, may be taken */
#define HERE(w) (((bh & pin) | bgone) & BIT(w))
#define TAKEN(w) named = named | BIT(w);
#ifdef M_NO_ADMIT
#define ADMIT(w) true
#else
#define ADMIT(w) HERE(w)
#endif
#define ENDSWEEP pin = 0; named = 0; st = 0; cand = 0; doom = 0;
/* whoever may have to serve has what its log comes to */
inline serves() {
  assert(be >= pc);
  assert(pc==0 || (bh & BIT(pc)))
}

active proctype World() {
end: do
  /* ---- the primary ---- */
  :: d_step { pe < NW -> pe++; ph = ph | BIT(pe); printf("T write %d\n",pe) }
  :: d_step { pc < pe && (!member || matched > pc) -> pc++; printf("T commit %d\n",pc) }
  :: d_step { pk < pc -> pk = pc }
  :: d_step { ps < pe -> ps = pe }
  /* trimmed to the checkpoint: whoever is in sync has that */
  :: d_step { pb < pk -> pb++ }
  SWEEP(pe,pb,pc,pk,ph,0)
  :: d_step { sent < pe -> sent++ }
  :: d_step { csent < pc -> csent = pc }
  /* a copy begins: of what is applied now */
  :: d_step { !member && view!=pc && page==0 && be < pb -> view = pc; printf("T copy of %d\n",view) }
  /* ---- the replica ---- */
  :: d_step { be < sent && ADMIT(be+1) -> be++; TAKEN(be) printf("T replica takes %d\n",be) }
#ifdef M_NO_DOOM
#define MAYPIN(w) true
#else
#define MAYPIN(w) (!(doom & BIT(w)))
#endif
#define LOOK(w) \
       pin = pin | BIT(w); named = named & ~BIT(w); \
       if :: bh & BIT(w) -> skip \
          :: !(bh & BIT(w)) && (ph & BIT(w)) -> bh = bh | BIT(w); printf("T region %d is fetched\n",w) \
          :: else -> bgone = bgone | BIT(w); printf("T region %d is gone\n",w) fi
  :: d_step { be < sent && !HERE(be+1) && MAYPIN(be+1) -> LOOK(be+1) }
  :: d_step { view>be && page==0 && !HERE(view) && MAYPIN(view) -> LOOK(view) }
#ifdef M_PAGE_NO_ADMIT
#define ADMITPAGE true
#else
#define ADMITPAGE HERE(view)
#endif
  :: d_step { view>be && page==0 && ADMITPAGE -> page = view; TAKEN(view) printf("T page of %d is being put\n",page) }
  :: d_step { page>0 -> be = page; ba = page; bk = page; bb = page; bs = page; page = 0; view = 0; printf("T replica is a copy of %d\n",be) }
  :: d_step { ba < be && ba < csent -> ba++ }
  :: d_step { bk < ba -> bk = ba; if :: bs < bk -> bs = bk :: else fi }
  :: d_step { bb < bk -> bb++ }
  :: d_step { bs < be -> bs = be }
  /* its sweep, a look at a time: what is here, logs, records, the disk, pins; nobody pins what is being removed */
  :: d_step { st==0 -> st = 1; cand = bh; pin = pin & ~named; bgone = bgone & ~named; named = 0; printf("T sweep, of %d\n",cand);
#ifdef M_PINS_FIRST
       cand = cand & ~pin
#endif
  }
#ifdef M_PAGE_UNSEEN
#define BUSY false
#else
#define BUSY (page>0)           /* no log names what is being put */
#endif
#ifdef M_RECORDS_FIRST
#define LOGS 2
#define RECORDS 1
#else
#define LOGS 1
#define RECORDS 2
#endif
  :: d_step { st==LOGS && !BUSY -> st = st+1; h_i = 1;
       do :: h_i <= NW -> if :: NAMED(h_i,bb,be) -> cand = cand & ~BIT(h_i) :: else fi; h_i++ :: else -> break od; h_i = 0 }
  :: d_step { st==RECORDS -> st = st+1; if :: ba>0 -> cand = cand & ~BIT(ba) :: else fi }
  :: d_step { st==3 -> st = 4;
#ifndef M_SWEEP_NO_FLUSH
       bk = ba; if :: bs < bk -> bs = bk :: else fi
#endif
  }
  :: d_step { st==4 -> st = 5;
#ifdef M_PINS_FIRST
       doom = cand;
#else
       doom = cand & ~pin;
#endif
       cand = 0 }
  :: d_step { st==5 -> st = 0; bh = bh & ~doom; printf("T swept %d\n",doom); doom = 0 }
  :: d_step { matched < be && page==0 -> matched = be }
#ifdef M_NO_CATCHUP
#define CAUGHT true
#else
#define CAUGHT (matched >= pc)
#endif
  :: d_step { !member && matched>0 && CAUGHT -> member = 1; printf("T joins, matched %d of %d\n",matched,pc) }
  :: d_step { member -> serves() }
  :: d_step { member -> member = 0; matched = 0; printf("T removed\n") }
  /* it restarts, with what is on disk; its word of before is void, and what it was told */
  :: d_step { crashes>0 && page==0 -> crashes--; member = 0; matched = 0; be = (bs > bk -> bs : bk); ba = bk; bgone = 0; view = 0; ENDSWEEP
       printf("T replica restarts with %d\n",be) }
  /* the one that leads, alone in sync, loses power and what was not on disk (`buffered`): it goes on with what is there */
  :: d_step { crashes>0 && !member -> crashes--;
       pe = (ps > pk -> ps : pk); if :: pc > pe -> pc = pe; printf("T lost behind %d\n",pe) :: else fi;
       h_i = pe+1; do :: h_i <= NW -> ph = ph & ~BIT(h_i); bh = bh & ~BIT(h_i); h_i++ :: else -> break od;  /* names are not used twice */
       h_i = 0; assert(pc==0 || (ph & BIT(pc)));
       if :: sent > pe -> sent = pe :: else fi; if :: csent > pc -> csent = pc :: else fi;
       view = 0; page = 0; matched = 0; bgone = 0; ENDSWEEP
       if :: be > pe -> be = 0; ba = 0; bk = 0; bb = 0; bs = 0 :: else fi }    /* its history is another: it is wiped */
#ifdef PROBE            /* not a mistake: a region may be gone, and the replica in sync later */
  :: d_step { member && bgone!=0 && pc==NW -> assert(false) }
#endif
  od
}
