/* repl.pml - Cairn slot replication: in-sync set, epochs, lease, take-over,
 * re-entry, restart with loss, retries.  3 replicas, 2 writers, reader.
 *
 * Message soup without queues: an Append(e,i) is what the primary of epoch e
 * once held at position i (plog), an Ack(e,r,n) is cumulative (ack).  A sent
 * message may be delivered late, never, twice, in any order; one direction
 * may be cut.  Client requests are re-deliverable for ever (retries).
 * A crash is "restart at once with a new incarnation"; staying down is
 * not being scheduled.  LEARN = a map push arrives.
 *
 * -DSYNC  acknowledged means synced      (default: buffered)
 * -DWIPE  a crash may also empty the disk
 * -DVOLFENCE  the map epoch a node has seen is lost by a crash
 * -DBLIND  MAP's idea of who lives is arbitrary
 * -DBREAD  write-once values are read at any in-sync replica
 * -DHANDOVER  a primary may RELEASE the slot; it stays a member, as a backup
 * -DSTATES  the record says TAKEOVER or ACTIVE; PROPOSE ACTIVE makes an epoch
 * -DSKIP  a node may learn a map without those between; `since` tells it
 *         whether another was primary meanwhile
 * -DLEAVE  processes leave before they stop: they give up what they lead, and every ACK of theirs says that they are to
 *          be let out of the set.  A stop in order keeps the whole log, and nothing that was acknowledged may be lost by it
 * -DREGIONS  each entry names a region, whose bytes have to be here before it is taken: who has them not asks the process
 *          that sent the entry.  One that has it no more, though it leads in that epoch, says so (GONE), and nobody waits for it
 * -DCUTS  a cut is on disk later than in memory, and before it is acknowledged: until then a crash may undo it
 * -DALONE  who is in sync alone, with no JOIN of its own that MAP may have heard of, needs no lease
 * -DONE  one replica is in sync at first, not three
 * -DLIVE  bounded faults; final states must be repaired
 * mistakes: M_*, each left out of a rule; README.md says what they break
 */
#ifndef NE
#define NE 5
#endif
#ifndef NN
#define NN 3
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef NREQ
#define NREQ 2          /* 1: writer A; 2: writer B; 3: writer A's second */
#endif
#define BIT(r)   (1<<(r))
#define IX(e,r)  ((e)*3+(r))
#define PX(e,i)  ((e)*NN+(i))
#define LX(r,i)  ((r)*NN+(i))
#define NONE 3

/* MAP */
byte E = 1;
byte hprim[NE+1]; byte hisr[NE+1]; byte hinc[(NE+1)*3];
byte reg[3]; byte W = 7;
/* soup */
byte plog[(NE+1)*NN]; byte plen[NE+1]; byte pcm[NE+1]; byte ack[(NE+1)*3];
byte pjr[NE+1]; byte pjinc[NE+1];  /* join proposed by the primary of an epoch: replica+1, incarnation */
/* replicas */
byte log[3*NN]; byte ln[3]; byte syn[3]; byte cm[3]; byte me[3]; byte inc[3];
bool act[3]; bool lease[3]; byte linc[3];
#ifdef HANDOVER
bool rel[3];            /* RELEASED in its epoch */
bool prel;              /* a RELEASE of epoch E is on its way to MAP; one of an older epoch would be refused */
#define RELEASED(r) rel[r]
#define UNRELEASE(r) rel[r] = 0;
#ifdef M_RELEASE_NO_CAS
#define RELVOID
#else
#define RELVOID prel = 0;
#endif
#else
#define RELEASED(r) false
#define UNRELEASE(r)
#define RELVOID
#endif
#ifdef LEAVE
#ifndef LEAVES
#define LEAVES 2
#endif
bool lv[3];             /* this process leaves, which its every ACK says; how much a primary has heard of it is open */
byte leaves = LEAVES;
byte stopped;           /* processes that left: bits */
#ifdef M_LEAVES_STICK   /* of the process before, and the primary knows no better */
#define STAYAGAIN(r)
#else
#define STAYAGAIN(r) lv[r] = 0;
#endif
#ifdef M_LEAVE_NO_WORD
#define SAYS(r) false
#else
#define SAYS(r) lv[r]
#endif
#define HEIR1(r,h) (MEMBER(me[r],h) && !lv[h])
#define HEIR(r) (HEIR1(r,(r+1)%3) || HEIR1(r,(r+2)%3))
#else
#define SAYS(r) false
#define STAYAGAIN(r)
#endif
#ifdef REGIONS
int here[3];            /* regions on disk, named by their entries: bit (epoch, request) */
int gone[3];            /* of which this process was told that they are no more */
#define RBIT(x) (1<<((x)-4))
#define HASREGION(r,x) (here[r] & RBIT(x))
#ifdef M_NO_ADMIT
#define ADMITTED(r,x) true
#else
#define ADMITTED(r,x) ((here[r]|gone[r]) & RBIT(x))
#endif
#define STORED(r,x) here[r] = here[r] | RBIT(x);
#define UNTOLD(r) gone[r] = 0;
#else
#define HASREGION(r,x) true
#define ADMITTED(r,x) true
#define STORED(r,x)
#define UNTOLD(r)
#endif
#ifdef CUTS
byte was[3*NN]; byte wln[3];    /* the log before a cut that is not on disk */
#define SETTLED(r) (wln[r]==0)
#define FORGET(r) h_i = 0; do :: h_i < NN -> was[LX(r,h_i)] = 0; h_i++ :: else -> break od; wln[r] = 0; h_i = 0;
#define REMEMBER(r) \
       if :: SETTLED(r) && h_e < ln[r] -> \
             h_i = 0; do :: h_i < ln[r] -> was[LX(r,h_i)] = log[LX(r,h_i)]; h_i++ :: else -> break od; wln[r] = ln[r]; h_i = 0 \
          :: else fi;
#define UNDO(r) h_i = 0; do :: h_i < wln[r] -> log[LX(r,h_i)] = was[LX(r,h_i)]; h_i++ :: else -> break od; ln[r] = wln[r]; h_i = 0;
#else
#define SETTLED(r) true
#define FORGET(r)
#define REMEMBER(r)
#endif
#ifdef M_SWEEP_CUT      /* of the log as it is in memory */
#define MAYSWEEP(r) true
#else
#define MAYSWEEP(r) SETTLED(r)
#endif
#ifdef STATES
bool tko;               /* the record of epoch E says TAKEOVER */
bool pact;              /* an ACTIVE of epoch E is on its way to MAP */
#define TKO tko = 1;
#define ACTVOID pact = 0;
#else
#define TKO
#define ACTVOID
#endif
/* budgets, ghosts */
byte crashes = CRASHES;
#ifdef LIVE
#ifdef LEAVE            /* no lease runs out and nobody is silent: leaving is to need neither */
byte bexp; byte brem; byte bpro;
#else
byte bexp = 1; byte brem = 1; byte bpro = 1; byte brel = 1;
#endif
#endif
byte glog[NN]; byte gfloor; byte acked;
/* scratch (hidden: not part of the state) */
hidden byte h_i; hidden byte h_j; hidden byte h_e; hidden byte h_b; hidden byte h_x; hidden byte h_c; hidden byte h_d; hidden byte h_ok; hidden int h_n;

#define ISPRIM(r)  (hprim[me[r]]==r && (hinc[IX(me[r],r)]==inc[r]))
#define MEMBER(e,r) ((hisr[e]>>(r))&1)
#ifdef M_STALE_REENTRY           /* incarnations are not compared */
#define INCOK(e,r) (true)
#undef ISPRIM
#define ISPRIM(r)  (hprim[me[r]]==r)
#else
#define INCOK(e,r) (hinc[IX(e,r)]==inc[r])
#endif

#ifdef ALONE
#ifdef M_ALONE_JOINING          /* who has asked for another one goes on until it learns that there is one */
#define UNASKED(r) true
#else
#define UNASKED(r) (pjr[me[r]]==0)
#endif
#ifdef M_ALONE_ALWAYS           /* whoever has no other to ask now, whatever the set is */
#define INSYNCALONE(r) (pjr[me[r]]==0)
#else
#define INSYNCALONE(r) (hisr[me[r]]==BIT(r))
#endif
#define ISALONE(r) (INSYNCALONE(r) && UNASKED(r) && !RELEASED(r))
#else
#define ISALONE(r) false
#endif
#define HOLDS(r) (lease[r] || ISALONE(r))        /* may answer */

#ifdef BREAD
#define SETPCM(r) pcm[me[r]] = cm[r]
#define CMZERO(r)
#else
#define SETPCM(r)
#define CMZERO(r) ; cm[r] = 0
#endif

/* what a client may see from replica r: its first n entries */
inline visible(r,n) {
  h_i = 0;
  do
  :: h_i < n ->
     h_x = log[LX(r,h_i)];
     assert(glog[h_i]==0 || glog[h_i]==h_x);      /* visible prefix is final */
     assert(HASREGION(r,h_x));                    /* and has its bytes */
     glog[h_i] = h_x;
     h_j = 0;
     do :: h_j < h_i -> assert((glog[h_j]&3) != (h_x&3)); h_j++   /* applied once */
        :: else -> break od;
     h_i++
  :: else -> break
  od;
  h_x = 0; h_j = 0; h_i = 0;
  if :: gfloor < n -> gfloor = n :: else fi
}
/* does every replica p must wait for hold position n (1-based)? */
inline allacked(p,n) {
  h_b = hisr[me[p]];
#ifndef M_JOIN_DROP
  if :: pjr[me[p]]>0 -> h_b = h_b | BIT(pjr[me[p]]-1) :: else fi;
#endif
  h_ok = true; h_j = 0; h_i = 0;
  do
  :: h_i < 3 ->
     if :: h_i!=p && ((h_b>>h_i)&1) && ack[IX(me[p],h_i)]<n -> h_j++ :: else fi;
     h_i++
  :: else -> break
  od;
#ifdef M_LEAVER_NOT_WAITED_FOR
  h_ok = (h_j==0 || (h_j==1 && ((SAYS((p+1)%3) && ack[IX(me[p],(p+1)%3)]<n) || (SAYS((p+2)%3) && ack[IX(me[p],(p+2)%3)]<n))));
#else
#ifdef M_ACK_BEFORE_REMOVE
  h_ok = (h_j<=1);
#else
  h_ok = (h_j==0);
#endif
#endif
  h_i = 0; h_j = 0; h_b = 0
}
#ifdef M_DEDUP_LOCAL
#define MINE(r) ((log[LX(r,h_i)]>>2)==me[r])
#else
#define MINE(r) true
#endif
inline findreq(r,q,upto) {      /* h_x = 1-based position or 0 */
  h_x = 0; h_i = 0;
  do :: h_i < upto -> if :: (log[LX(r,h_i)]&3)==q && MINE(r) -> h_x = h_i+1; break :: else fi; h_i++
     :: else -> break od;
  h_i = 0
}
inline cut(r,n) {               /* shorten r's log to n */
  h_c = n; h_i = h_c;
  do :: h_i < NN -> log[LX(r,h_i)] = 0; h_i++ :: else -> break od;
  ln[r] = h_c; if :: syn[r]>h_c -> syn[r] = h_c :: else fi; h_i = 0; h_c = 0
}
inline pubpl(r) {               /* the primary's log as seen by the network */
  h_i = 0;
  do :: h_i < NN -> plog[PX(me[r],h_i)] = log[LX(r,h_i)]; h_i++ :: else -> break od;
  plen[me[r]] = ln[r]; h_i = 0
}
inline gc() {                   /* messages no one may accept any more */
#ifndef VOLFENCE
  h_b = me[0]; if :: me[1]<h_b -> h_b = me[1] :: else fi; if :: me[2]<h_b -> h_b = me[2] :: else fi;
#ifdef M_NO_FENCE
  if :: h_b>0 -> h_b-- :: else fi;
#endif
  h_e = 0;
  do :: h_e < h_b -> plen[h_e]=0; pcm[h_e]=0; hprim[h_e]=0; 
        if :: h_e<E -> hisr[h_e]=0 :: else fi;
        h_i=0; do :: h_i<NN -> plog[PX(h_e,h_i)]=0; h_i++ :: else -> break od;
        h_i=0; do :: h_i<3 -> ack[IX(h_e,h_i)]=0; hinc[IX(h_e,h_i)]=0; h_i++ :: else -> break od;
        pjr[h_e]=0; pjinc[h_e]=0;
        h_e++
     :: else -> break od;
  do :: h_e < E ->
        h_x = hprim[h_e];
        if :: h_x<3 && (me[h_x]!=h_e || hinc[IX(h_e,h_x)]!=inc[h_x]) ->
              h_i=0; do :: h_i<3 -> if :: me[h_i]!=h_e -> ack[IX(h_e,h_i)]=0 :: else fi; h_i++ :: else -> break od;
              pjr[h_e]=0
           :: else fi;
        pjinc[h_e] = 0; h_e++
     :: else -> break od;
  h_i=0; h_e=0; h_b=0; h_x=0
#else
  skip
#endif
}
inline newepoch(p,set) {
  printf("T MAP e%d prim n%d isr %d\n",E+1,p,set);
  h_c = p; h_d = set; E++; hprim[E] = h_c; hisr[E] = h_d; h_c = 0; h_d = 0; RELVOID ACTVOID
  hinc[IX(E,0)] = hinc[IX(E-1,0)]; hinc[IX(E,1)] = hinc[IX(E-1,1)]; hinc[IX(E,2)] = hinc[IX(E-1,2)]
}
/* Every member of the in-sync set has restarted and registered: choose among
 * them the greatest (epoch of last entry, length).  Buffered: an entry no
 * member still has is lost, and the loss excused.  Synced: any member may be
 * chosen, nothing is excused (unless disks were emptied). */
#ifdef M_RECOVER_STALESET
#define CANDS W
#else
#define CANDS hisr[E]
#endif
#ifdef M_RECOVER_FIRST
#define PICKANY
#endif
#ifdef SYNC
#ifndef WIPE
#define PICKANY
#endif
#endif
#ifdef PICKANY
#define MAYRECOVER(r) (!lease[hprim[E]])
#else
#define MAYRECOVER(r) true
#endif
inline recover(r) {
  h_b = NONE; h_j = 0; h_i = 0; h_ok = 1; h_d = CANDS;
  do :: h_i < 3 ->
       if :: ((h_d>>h_i)&1) ->
            h_x = 0; if :: ln[h_i]>0 -> h_x = (log[LX(h_i,ln[h_i]-1)]>>2) :: else fi;
            h_x = h_x*8 + ln[h_i];
            if :: h_b==NONE || h_x>h_j -> h_b = h_i; h_j = h_x :: else fi;
            if :: reg[h_i]!=inc[h_i] || (MEMBER(E,h_i) && hinc[IX(E,h_i)]==inc[h_i]) -> h_ok = 0 :: else fi
          :: else fi; h_i++
     :: else -> break od;
#ifdef PICKANY
  h_b = r; h_ok = 1;
#endif
  if :: h_ok ->
     h_e = gfloor;
     do :: h_e > 0 ->
          h_j = 0; h_i = 0;
          do :: h_i<3 -> if :: ((h_d>>h_i)&1) && ln[h_i]>=h_e && log[LX(h_i,h_e-1)]==glog[h_e-1] -> h_j = 1 :: else fi; h_i++
             :: else -> break od;
          if :: h_j==0 ->
#ifdef LEAVE
               assert(crashes<CRASHES);      /* whoever stops in order loses nothing, `buffered` or not */
#endif
#ifdef SYNC
#ifndef WIPE
               assert(false);
#endif
#endif
               acked = acked & ~BIT(glog[h_e-1]&3);
               glog[h_e-1] = 0; gfloor = h_e-1; h_e--
             :: else -> break fi
        :: else -> break od;
     h_j = h_b; h_i = BIT(h_b); newepoch(h_j, h_i); TKO hinc[IX(E,h_b)] = inc[h_b]; printf("T MAP recovers with n%d\n",h_b)
  :: else -> skip fi;
  h_i=0; h_j=0; h_e=0; h_x=0; h_b=0; h_d=0; h_ok=0
}
/* MAP changes the in-sync set only on the word of a live member;
   -DBLIND: its opinion of who lives is arbitrary */
#ifdef BLIND
#define BYLIVE(m) true
#else
#define BYLIVE(m) ALIVE(m)
#endif

#define ALIVE(m)  (MEMBER(E,m) && hinc[IX(E,m)]==inc[m])
#ifdef BLIND
#define OTHERALIVE(r) (hisr[E]!=BIT(r))
#else
#define OTHERALIVE(r) ((r!=0 && ALIVE(0)) || (r!=1 && ALIVE(1)) || (r!=2 && ALIVE(2)))
#endif

/* learn the map @n epochs on: goes on serving only who was primary in all epochs between */
#ifdef M_TRUNC_TO_COMMIT
#define FOLLOWERCUT(r) ; cut(r, cm[r])
#else
#define FOLLOWERCUT(r)
#endif
#if defined(SKIP) && !defined(M_NO_SINCE)
#define GOESON(r,n) \
       h_c = 0; \
       do :: h_c < n -> h_c++; \
             if :: hprim[me[r]+h_c]!=r || hinc[IX(me[r]+h_c,r)]!=inc[r] -> act[r] = 0 :: else fi \
          :: else -> break od; \
       h_c = 0;
#else
#define GOESON(r,n)
#endif
#define LEARN(n) \
  :: d_step { me[r]+n <= E -> \
       GOESON(r,n) \
       me[r] = me[r]+n; UNRELEASE(r) printf("T n%d learns map e%d\n",r,me[r]); \
       if :: ISPRIM(r) -> pubpl(r); \
             if :: act[r] -> SETPCM(r) :: else -> skip CMZERO(r) fi \
          :: else -> act[r] = 0; lease[r] = 0 CMZERO(r) FOLLOWERCUT(r) \
       fi; \
       gc() }

proctype Node(byte r) {
end:  do
  LEARN(1)
#ifdef SKIP
  LEARN(2) LEARN(3)
#endif
  /* ---- backup / learner ---- */
  :: d_step { !ISPRIM(r) && ack[IX(me[r],r)] < plen[me[r]] && (!MEMBER(me[r],r) || INCOK(me[r],r)) && ADMITTED(r,plog[PX(me[r],ack[IX(me[r],r)])]) ->
       h_e = ack[IX(me[r],r)];
       if
#ifdef M_MATCH_BY_N
       :: h_e < ln[r] -> skip
#else
       :: h_e < ln[r] && log[LX(r,h_e)]==plog[PX(me[r],h_e)] -> skip
#endif
       :: else ->
          assert(!(MEMBER(E,r) && INCOK(E,r) && h_e < ln[r] && h_e < gfloor && log[LX(r,h_e)]==glog[h_e]));  /* never cut what was seen */
          REMEMBER(r)
          cut(r, h_e); log[LX(r,h_e)] = plog[PX(me[r],h_e)]; ln[r] = h_e+1
       fi;
       if :: SETTLED(r) -> ack[IX(me[r],r)] = h_e+1 :: else fi; printf("T n%d e%d matches/appends pos %d (%d, sent %d)\n",r,me[r],h_e+1,log[LX(r,h_e)],plog[PX(me[r],h_e)]); if :: !MEMBER(me[r],r) -> linc[r] = inc[r] :: else -> linc[r] = 0 fi;
#ifdef SYNC
       if :: syn[r] < h_e+1 -> syn[r] = h_e+1 :: else fi;
#endif
       h_e = 0 }
#ifdef M_NO_FENCE
  :: d_step { me[r]>1 && hprim[me[r]-1]!=r && ack[IX(me[r]-1,r)]==ln[r] && ln[r] < plen[me[r]-1] && MEMBER(me[r]-1,r) ->
       log[LX(r,ln[r])] = plog[PX(me[r]-1,ln[r])]; ln[r]++; ack[IX(me[r]-1,r)] = ln[r];
       if :: ISPRIM(r) -> pubpl(r) :: else fi }
#endif
#ifdef BREAD
  :: d_step { !ISPRIM(r) && cm[r] < ack[IX(me[r],r)] && cm[r] < pcm[me[r]] && cm[r] < ln[r] -> cm[r]++ }
#endif
#ifdef REGIONS
#ifdef M_GONE_ANY       /* whatever process answers at that node */
#define MAYTELL(e,n) true
#else
#ifdef M_GONE_DEPOSED   /* the same process, wherever it stands now */
#define MAYTELL(e,n) (hinc[IX(e,n)]==inc[n])
#else
#define MAYTELL(e,n) (hinc[IX(e,n)]==inc[n] && me[n]==e)
#endif
#endif
  /* an entry that the primary of epoch @e sent, however late, which is not looked at before its region is here */
#define FETCH(e,i) \
  :: d_step { e<=E && hprim[e]<3 && hprim[e]!=r && plen[e]>i && !((here[r]|gone[r]) & RBIT(plog[PX(e,i)])) && (HASREGION(hprim[e],plog[PX(e,i)]) || MAYTELL(e,hprim[e])) -> \
       h_x = hprim[e]; h_c = plog[PX(e,i)]; \
       if :: HASREGION(h_x,h_c) -> STORED(r,h_c) printf("T n%d has region %d from n%d\n",r,h_c,h_x) \
          :: else -> gone[r] = gone[r] | RBIT(h_c); printf("T n%d is told that region %d is gone at n%d\n",r,h_c,h_x) \
       fi; h_x = 0; h_c = 0 }
  FETCH(1,0) FETCH(2,0)
#if NE>=3
  FETCH(3,0)
#endif
#if NN>=2
  FETCH(1,1) FETCH(2,1)
#if NE>=3
  FETCH(3,1)
#endif
#endif
  /* the sweeper: what no entry of the log names */
  :: d_step { here[r]!=0 && MAYSWEEP(r) ->
       h_i = 0; h_n = here[r];
       do :: h_i < ln[r] -> h_n = h_n & ~RBIT(log[LX(r,h_i)]); h_i++ :: else -> break od;
#ifdef M_SWEEP_LOG
       h_n = here[r];
#endif
       here[r] = here[r] & ~h_n; h_n = 0; h_i = 0 }
#endif
  /* ---- primary ---- */
  :: d_step { ISPRIM(r) && cm[r] < ln[r] -> 
       allacked(r, cm[r]+1);
       if :: h_ok -> cm[r]++; printf("T n%d e%d commits pos %d\n",r,me[r],cm[r]); SETPCM(r)
#ifdef SYNC
             if :: syn[r]<cm[r] -> syn[r] = cm[r] :: else fi   /* own log synced before it counts itself */
#endif
          :: else fi; h_ok = 0 }
#ifdef M_NO_RECONCILE
#define RECONCILED(r) true
#else
#define RECONCILED(r) (cm[r]==ln[r])
#endif
#ifdef M_RELEASED_SERVES
#define MAYSERVE(r) true
#else
#define MAYSERVE(r) (!RELEASED(r))
#endif
  :: d_step { ISPRIM(r) && !act[r] && HOLDS(r) && MAYSERVE(r) && RECONCILED(r) -> act[r] = 1; printf("T n%d e%d activates\n",r,me[r]) }
#define WRITE(q,pre) \
  :: d_step { act[r] && ISPRIM(r) && ln[r] < NN && (pre) -> \
       findreq(r,q,DEDUPTO); \
       if :: h_x==0 -> log[LX(r,ln[r])] = me[r]*4+q; STORED(r,me[r]*4+q) ln[r]++; pubpl(r); printf("T n%d e%d appends req %d at pos %d\n",r,me[r],q,ln[r]) :: else fi; h_x = 0 }
#define ACK(q) \
  :: d_step { act[r] && HOLDS(r) && ISPRIM(r) && !((acked>>q)&1) -> \
       findreq(r,q,cm[r]); \
       if :: h_x>0 -> h_e = h_x; printf("T n%d e%d acks req %d at pos %d\n",r,me[r],q,h_e); visible(r,h_e); h_e = 0; acked = acked | BIT(q); \
             assert(ONEPRIM(r)) \
          :: else fi; h_x = 0 }
#ifdef WRITESONLY     /* with M_NO_LEASE_WAIT: what a broken clock can NOT do */
#define ONEPRIM(r) true
#else
#define SERVES(r) (act[r] && HOLDS(r))
#define ONEPRIM(r) (!SERVES((r+1)%3) && !SERVES((r+2)%3))
#endif
#ifdef M_DEDUP_NO_PENDING
#define DEDUPTO cm[r]
#else
#define DEDUPTO ln[r]
#endif
  WRITE(1,true) ACK(1)
#if NREQ>=2
  WRITE(2,true) ACK(2)
#endif
#if NREQ>=3
  WRITE(3,(acked&2)) ACK(3)
#endif
  /* linearizable read at the primary: invoked and answered in one step */
#ifdef M_READ_NO_LEASE
#define LEASED(r) true
#else
#define LEASED(r) HOLDS(r)
#endif
#ifndef WRITESONLY
  :: d_step { act[r] && ISPRIM(r) && LEASED(r) && (cm[r]!=gfloor || (cm[r]>0 && log[LX(r,cm[r]-1)]!=glog[cm[r]-1])) ->
       printf("T n%d e%d reads cm %d floor %d\n",r,me[r],cm[r],gfloor); assert(cm[r] >= gfloor); visible(r,cm[r]) }
#endif
#ifdef BREAD
  /* write-once read at any in-sync replica: only 'found' is final */
#ifdef M_BREAD_PENDING
  :: d_step { MEMBER(me[r],r) && INCOK(me[r],r) && !ISPRIM(r) && ln[r]>0 -> visible(r,ln[r]) }
#else
#ifdef M_BREAD_NOTFOUND
  :: d_step { MEMBER(me[r],r) && INCOK(me[r],r) && !ISPRIM(r) -> assert(cm[r] >= gfloor) }
#else
  :: d_step { MEMBER(me[r],r) && INCOK(me[r],r) && !ISPRIM(r) && cm[r]>gfloor -> visible(r,cm[r]) }
#endif
#endif
#endif
#ifdef LIVE     /* the primary has heard of it: with the ACK that matched */
#define STAYS(q) (!SAYS(q))
#else
#define STAYS(q) true
#endif
#define JOIN(q) \
  :: d_step { act[r] && ISPRIM(r) && r!=q && !MEMBER(me[r],q) && pjr[me[r]]==0 && JOINCOND(q) -> \
       printf("T n%d e%d proposes join n%d inc %d\n",r,me[r],q,linc[q]); pjr[me[r]] = q+1; pjinc[me[r]] = linc[q] }
#ifdef M_JOIN_EARLY
#define JOINCOND(q) STAYS(q)
#else
#define JOINCOND(q) (ack[IX(me[r],q)] >= cm[r] && STAYS(q))
#endif
  JOIN(0) JOIN(1) JOIN(2)
#ifdef HANDOVER
#ifdef M_RELEASE_UNCOMMITTED
#define DRAINED(r) true
#else
#define DRAINED(r) (cm[r]==ln[r])
#endif
#ifdef M_RELEASE_WORD_FIRST
#define STOPPED(r)
#else
#define STOPPED(r) rel[r] = 1; act[r] = 0;      /* the state first, */
#endif
#ifdef LEAVE
#define BREL && lv[r] && HEIR(r) ->
#else
#ifdef LIVE
#define BREL && brel>0 -> brel--;
#else
#define BREL ->
#endif
#endif
  /* then the word, which MAP may hear at any later time */
  :: d_step { act[r] && ISPRIM(r) && !RELEASED(r) && pjr[me[r]]==0 && DRAINED(r) BREL \
       STOPPED(r) if :: me[r]==E -> prel = 1 :: else fi; printf("T n%d e%d releases, commit %d of %d\n",r,me[r],cm[r],ln[r]) }
#endif
#ifdef STATES
  :: d_step { act[r] && ISPRIM(r) && me[r]==E && tko && !pact -> pact = 1; printf("T n%d e%d proposes ACTIVE\n",r,me[r]) }
#endif
#ifdef LIVE
  :: d_step { lease[r] && bexp>0 -> lease[r] = 0; bexp-- }
#else
  :: d_step { lease[r] -> lease[r] = 0 }
#endif
#define CRASHBODY(n) \
       crashes--; printf("T n%d crashes, keeps %d of %d\n",r,n,ln[r]); inc[r]++; linc[r] = 0; lease[r] = 0; act[r] = 0; cm[r] = 0; UNRELEASE(r) UNTOLD(r) FORGET(r) cut(r,n); \
       h_e = 0; do :: h_e<=E -> if :: !MEMBER(h_e,r) -> ack[IX(h_e,r)] = 0 :: else fi; h_e++ :: else -> break od; h_e = 0; gc()
#ifdef VOLFENCE
#define CF ; me[r] = 0
#else
#define CF
#endif
#ifdef SYNC
#define SURVIVES syn[r]
#define SYNCALL ; syn[r] = ln[r]
#else
#define SURVIVES 0     /* buffered: any tail may go */
#define SYNCALL
#endif
  :: d_step { crashes>0 -> CRASHBODY(ln[r]) SYNCALL CF }
  :: d_step { crashes>0 && SURVIVES<ln[r] -> CRASHBODY(ln[r]-1) SYNCALL CF }
  :: d_step { crashes>0 && SURVIVES+1<ln[r] -> CRASHBODY(ln[r]-2) SYNCALL CF }
#ifdef CUTS
  :: d_step { !SETTLED(r) -> FORGET(r) printf("T n%d has cut its log on disk\n",r) }
  :: d_step { crashes>0 && !SETTLED(r) -> UNDO(r) printf("T n%d's cut is undone\n",r); CRASHBODY(ln[r]) SYNCALL CF }
#endif
#ifdef WIPE
  :: d_step { crashes>0 && ln[r]>0 -> CRASHBODY(0) CF }
#endif
#ifdef LEAVE
  :: d_step { leaves>0 && !lv[r] && !((stopped>>r)&1) -> leaves--; lv[r] = 1; printf("T n%d begins to leave\n",r) }
#define STOP(n) \
       crashes++; CRASHBODY(n) SYNCALL; STAYAGAIN(r) stopped = stopped | BIT(r)
  /* others have it all: what is not on disk is of no use */
  :: d_step { lv[r] && !((stopped>>r)&1) && !ISPRIM(r) && !MEMBER(me[r],r) -> STOP(SURVIVES) }
  /* it leads and nobody who stays could; or its time is over */
#ifdef LIVE
#define STUCK(r) (ISPRIM(r) && me[r]==E && !RELEASED(r) && act[r] && !HEIR(r))
#else
#define STUCK(r) MEMBER(me[r],r)
#endif
  :: d_step { lv[r] && !((stopped>>r)&1) && STUCK(r) -> STOP(ln[r]) }
#ifdef M_STOP_NO_FLUSH
  :: d_step { lv[r] && !((stopped>>r)&1) && STUCK(r) && ln[r]>0 -> STOP(ln[r]-1) }
#endif
#endif
  od
}

proctype Map() {
end:  do
#define REGISTER(r,a) \
  :: d_step { reg[r]!=inc[r] -> printf("T MAP registers n%d inc %d\n",r,inc[r]); reg[r] = inc[r] } \
  :: d_step { E<NE && REENTRY && reg[r]==inc[r] && MEMBER(E,r) && hinc[IX(E,r)]!=inc[r] && OTHERALIVE(r) -> \
       h_b = hisr[E] & ~BIT(r); h_x = hprim[E]; \
       if :: h_x==r -> h_x = 3-r-a; if :: MEMBER(E,a) && BYLIVE(a) -> h_x = a :: else fi :: else fi; \
       if :: h_x != hprim[E] -> TKO skip :: else fi; \
       h_d = h_x; h_i = h_b; newepoch(h_d,h_i); h_b=0; h_x=0; h_d=0; h_i=0 } \
  :: d_step { E<NE && REENTRY && MEMBER(E,r) && hinc[IX(E,r)]!=inc[r] && reg[r]==inc[r] && MAYRECOVER(r) -> recover(r) }
#ifdef M_STALE_REENTRY
#define REENTRY false
#else
#define REENTRY true
#endif
  REGISTER(0,1) REGISTER(1,2) REGISTER(2,0)
#ifdef LIVE
#define BREM && brem>0 -> brem--;
#define BPRO && bpro>0 -> bpro--;
#else
#define BREM ->
#define BPRO ->
#endif
#define REMOVE(r) \
  :: d_step { E<NE && MEMBER(E,r) && hprim[E]!=r && BYLIVE(hprim[E]) BREM h_b = hisr[E] & ~BIT(r); newepoch(hprim[E],h_b); h_b = 0 }
  REMOVE(0) REMOVE(1) REMOVE(2)
#ifdef LEAVE
#define LETGO(r) \
  :: d_step { E<NE && SAYS(r) && MEMBER(E,r) && INCOK(E,r) && hprim[E]!=r && act[hprim[E]] && me[hprim[E]]==E && lease[hprim[E]] -> \
       h_b = hisr[E] & ~BIT(r); newepoch(hprim[E],h_b); h_b = 0 }
  LETGO(0) LETGO(1) LETGO(2)
#endif
#ifdef M_NO_LEASE_WAIT
#define WAITED true
#else
#define WAITED (!lease[hprim[E]])
#endif
#define PROMOTE(r) \
  :: d_step { E<NE && MEMBER(E,r) && hprim[E]!=r && WAITED && BYLIVE(r) BPRO h_b = hisr[E] & ~BIT(hprim[E]); newepoch(r,h_b); TKO h_b = 0 }
  PROMOTE(0) PROMOTE(1) PROMOTE(2)
#ifdef HANDOVER
#ifdef BLIND
#define NOSUCCESSOR true
#else
#define NOSUCCESSOR (!OTHERALIVE(hprim[E]))
#endif
  /* RELEASE of epoch E, from a process that is the registered one: at once, and the old primary stays a member.  With
     nobody to take the slot over, its old primary begins again in a new epoch. */
#define RELEASE(r) \
  :: d_step { E<NE && prel && reg[hprim[E]]==hinc[IX(E,hprim[E])] && MEMBER(E,r) && hprim[E]!=r && BYLIVE(r) -> \
       printf("T MAP hears RELEASE\n"); prel = 0; newepoch(r,hisr[E]); TKO }
  RELEASE(0) RELEASE(1) RELEASE(2)
  :: d_step { E<NE && prel && reg[hprim[E]]==hinc[IX(E,hprim[E])] && NOSUCCESSOR -> \
       printf("T MAP hears RELEASE, nobody there\n"); prel = 0; newepoch(hprim[E],hisr[E]); TKO }
#endif
#ifdef STATES
  :: d_step { E<NE && pact && tko && reg[hprim[E]]==hinc[IX(E,hprim[E])] -> \
       printf("T MAP hears ACTIVE\n"); tko = 0; newepoch(hprim[E],hisr[E]) }
#endif
#ifdef M_ALONE_GIVEN_UP  /* an order: what a silent node held alone is given to another, who begins with nothing */
#define GIVEUP(r) \
  :: d_step { E<NE && hisr[E]==BIT(hprim[E]) && hprim[E]!=r && WAITED && gfloor==0 -> h_b = BIT(r); newepoch(r,h_b); TKO h_b = 0 }
  GIVEUP(0) GIVEUP(1) GIVEUP(2)
#endif
#define GRANT(r) \
  :: d_step { hprim[E]==r && me[r]==E && INCOK(E,r) && !lease[r] -> lease[r] = 1 }
  GRANT(0) GRANT(1) GRANT(2)
#ifdef M_JOIN_NO_INC
#define JOINREJ false
#else
#ifdef M_JOIN_NEVER_REFUSED
#define JOINREJ false
#else
#define JOINREJ true
#endif
#endif
#ifdef M_JOIN_NO_INC
  :: d_step { pjr[E]>0 && E<NE && !MEMBER(E,pjr[E]-1) -> h_j = pjr[E]-1; h_b = hisr[E] | BIT(h_j); newepoch(hprim[E],h_b); hinc[IX(E,h_j)] = reg[h_j]; h_b = 0; h_j = 0 }
#else
  :: d_step { pjr[E]>0 && E<NE && !MEMBER(E,pjr[E]-1) && reg[pjr[E]-1]==pjinc[E] -> h_j = pjr[E]-1; h_x = pjinc[E]; h_b = hisr[E] | BIT(h_j); newepoch(hprim[E],h_b); hinc[IX(E,h_j)] = h_x; pjinc[E-1] = 0; h_b = 0; h_j = 0; h_x = 0 }
#endif
  :: d_step { pjr[E]>0 && reg[pjr[E]-1]!=pjinc[E] && JOINREJ -> pjr[E] = 0; pjinc[E] = 0 }   /* refused for good: MAP says so */
#ifdef M_RECOVER_STALESET
  :: d_step { hprim[E]<3 && act[hprim[E]] && me[hprim[E]]==E && W!=hisr[E] -> W = hisr[E] }
#endif
  od
}

#ifdef LIVE
proctype Final() {
end:  timeout ->
  if :: E==NE -> skip       /* the model's epochs are used up: no verdict */
     :: else -> d_step {
#ifdef PROBE           /* not a mistake: the end is reached, with a hand-over where there may be one */
#ifdef HANDOVER
#ifdef LEAVE
        assert(leaves>0);
#else
        assert(brel>0);
#endif
#else
        assert(false);
#endif
#endif
#ifdef LEAVE
        assert(!lv[0] && !lv[1] && !lv[2]);   /* whoever wanted to leave has left, and is back */
#endif
        assert(hprim[E]<3 && act[hprim[E]] && lease[hprim[E]]);
        assert(hisr[E]==7);
        assert(acked==(1<<(NREQ+1))-2);
        assert(cm[hprim[E]]==gfloor && ln[0]==gfloor && ln[1]==gfloor && ln[2]==gfloor) }
  fi
}
#endif

#ifdef ONE
#define ATFIRST BIT(0)
#else
#define ATFIRST 7
#endif
init { atomic {
  hprim[1]=0; hisr[1]=ATFIRST; me[0]=1; me[1]=1; me[2]=1; act[0]=1; lease[0]=1;
  run Node(0); run Node(1); run Node(2); run Map();
#ifdef LIVE
  run Final()
#endif
} }
