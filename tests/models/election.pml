/* election.pml - the coordinator's election by a key with a lease in a
 * linearizable store, and what coordinators may do: grant node leases and
 * change slot records.  Two candidates X (0) and Y (1), any number of terms up
 * to NR; one slot: A is its primary, B its backup and successor.
 *
 * The store: a key that only a create makes, its create revision (here: the
 * term) and its lease, which the store counts from the receipt of the newest
 * keep-alive and never shortens (it may be late).  A candidate counts its
 * term's validity from the SENDING of the keep-alive that was answered.
 * A holder counts its lease from the sending of the heartbeat that a grant
 * answers; a coordinator counts W from the newest of its grants and its
 * election.  Any message may take any time, or be lost.
 *
 * Each clock advances by RLO..RHI units in a tick of real time (rho = 1/3),
 * so W >= L(1+rho)/(1-rho) = 2L and T >= 2 TV; as all happens at ticks, one
 * unit less is the least that holds, and that is what is checked.  Clocks
 * saturate where nobody asks further, so time is not bounded.
 *
 * -DSELF  A's node is candidate X.  As coordinator it grants itself no lease
 *         beyond its term's validity, gives up what others granted it or may
 *         still answer, and then says so in the store (mark); the successor
 *         of a marked X need not wait for X's leases.  Y takes the mark away
 *         before it grants anything, so it stands while nobody served.
 * mistakes: M_*; README.md says what they break
 */
#ifndef L
#ifdef SELF
#define L 5                            /* more than T: an old grant may outlast X's term */
#else
#define L 3
#endif
#endif
#ifndef WAIT
#define WAIT (2*L-1)
#endif
#ifndef TV
#define TV 2
#endif
#ifndef T
#define T (2*TV-1)
#endif
#ifndef RLO
#define RLO 1
#endif
#ifndef RHI
#define RHI 2
#endif
#ifndef NR
#define NR 3
#endif
#define NONE 2
#define SAT(x,m) ((x) > (m) -> (m) : (x))
/* the store */
byte owner = NONE; byte rev; byte sage;   /* of the key: who, create revision, its lease's age */
#ifdef SELF
bool xterm; bool mark; bool capped;       /* the newest term is X's; X has confirmed, and Y not since; as it was at an election */
bool noted;                               /* Y knows that its term is in the store in place of the mark */
#endif
byte prim;                                /* of the slot: 0 = A, 1 = B */
/* coordinators */
byte term[2]; byte vage[2];               /* the term that it believes it has; age of its validity */
byte wcl[2];                              /* its clock since its election or its newest grant to A */
bool view[2]; bool storing[2];            /* it knows that B is primary; it has begun to make that so: no grant to A */
byte ka[2]; byte kage[2]; byte kt[2];     /* a keep-alive or create: 1 on its way, 2 answered; age; of which term (0: create) */
byte tx[2];                               /* the change of the slot, on its way: term in which it was made */
/* the holder A */
bool agranted; byte ca;                   /* a lease, and its age */
byte m; byte mage;                        /* heartbeat (1) or grant (2) on its way; age since the heartbeat's sending */
/* ghost: newest term whose coordinator has read the map */
byte loaded;

#define VALID(c) (term[c]!=0 && vage[c] < TV)
#define OWNS(c,t) (owner==c && rev==(t))
#ifdef SELF
#define AVALID ((agranted && ca < L) || (VALID(0) && !view[0]))
#define HBGUARD (term[0]==0)
#else
#define AVALID (agranted && ca < L)
#define HBGUARD true
#endif
#ifdef M_GRANT_INVALID
#define MAYGRANT(c) (term[c]!=0)
#else
#define MAYGRANT(c) VALID(c)
#endif
#ifdef M_NO_FENCE_REV
#define FENCED(c) true
#else
#define FENCED(c) OWNS(c,tx[c])
#endif
#ifdef M_RESUME_TERM                   /* a process that has forgotten its term takes it up again */
#define RESUME(c) (owner==c)
#else
#define RESUME(c) false
#endif
#ifdef SELF
#ifdef M_NO_MARK
#define CAPPED xterm
#else
#define CAPPED mark
#endif
#define NEWTERM(c) capped = CAPPED; xterm = (c==0);
#define FORGETNOTE(c) if :: c==1 -> noted = 0 :: else fi;
#ifdef M_GRANT_UNNOTED
#define NOTED true
#else
#define NOTED noted
#endif
#else
#define NEWTERM(c)
#define FORGETNOTE(c)
#define NOTED true
#endif
/* how far W has gone when the election is known */
#ifdef M_PROMOTE_AT_ONCE
#define WAITED(c) WAIT
#else
#ifdef M_ELECTED_FROM_SENT             /* counted from the sending of the create, when the other may still have granted */
#define WAITED(c) SAT(kage[c],WAIT)
#else
#ifdef SELF
#define WAITED(c) ((c==1 && rev==kt[c] && capped) -> WAIT : 0)
#else
#define WAITED(c) 0
#endif
#endif
#endif

inline stepdown(c) { FORGETNOTE(c) term[c]=0; vage[c]=0; wcl[c]=0; view[c]=0; storing[c]=0; ka[c]=0; kage[c]=0; kt[c]=0 }
inline elected(c) {
  printf("T c%d knows that it has term %d, its validity is %d old\n",c,kt[c],kage[c]);
  FORGETNOTE(c)
  term[c] = kt[c]; vage[c] = kage[c]; view[c] = prim; storing[c] = 0; wcl[c] = (prim -> 0 : WAITED(c));
  if :: kt[c] > loaded -> loaded = kt[c] :: else fi
#ifdef SELF
#ifndef M_KEEP_OLD_GRANT
  ; if :: c==0 -> agranted = 0; ca = 0 :: else fi
#ifndef M_LATE_GRANT
  ; if :: c==0 -> m = 0; mage = 0 :: else fi          /* no heartbeat that it has sent before counts any more */
#endif
#endif
#endif
}

/* what can have no effect any more but the loss that it can have at any time */
#ifdef M_VALID_FROM_RECEIPT
#define DEAD(c)
#else
#define DEAD(c) if :: kage[c]>=TV && (ka[c]==2 || kt[c]!=0) -> ka[c] = 0; kage[c] = 0; kt[c] = 0 :: else fi;
#endif

active proctype World() {
  byte da, dx, dy, ds;
end: do
  /* ---- time ---- */
  :: atomic {
#ifdef SELF
       da = 0;
#else
       if :: da = RLO :: da = RHI fi;
#endif
       if :: dx = RLO :: dx = RHI fi; if :: dy = RLO :: dy = RHI fi; if :: ds = RLO :: ds = RHI fi;
       d_step {
#ifdef SELF
         da = dx;
#endif
         printf("T tick: A %d, X %d, Y %d, store %d\n",da,dx,dy,ds);
         if :: agranted -> ca = SAT(ca+da,L); if :: ca>=L -> agranted = 0; ca = 0 :: else fi :: else fi;
         if :: m>0 -> mage = SAT(mage+da,L) :: else fi;
         if :: owner!=NONE -> sage = SAT(sage+ds,T) :: else fi;
         if :: term[0]!=0 -> vage[0] = SAT(vage[0]+dx,TV); wcl[0] = SAT(wcl[0]+dx*(1-view[0]),WAIT) :: else fi;
         if :: term[1]!=0 -> vage[1] = SAT(vage[1]+dy,TV); wcl[1] = SAT(wcl[1]+dy*(1-view[1]),WAIT) :: else fi;
         if :: ka[0]!=0 -> kage[0] = SAT(kage[0]+dx,TV) :: else fi; DEAD(0)
         if :: ka[1]!=0 -> kage[1] = SAT(kage[1]+dy,TV) :: else fi; DEAD(1)
         if :: mage>=L -> m = 0; mage = 0 :: else fi;
         da = 0; dx = 0; dy = 0; ds = 0 } }

  /* ---- the key ---- */
  :: d_step { owner!=NONE && sage>=T -> printf("T the key of term %d expires\n",rev); owner = NONE; sage = 0 }
#ifdef M_VALID_FROM_RECEIPT
#define RECEIVED(c) 0
#else
#define RECEIVED(c) kage[c]
#endif
#define ELECTION(c) \
  :: d_step { ka[c]==0 -> ka[c] = 1; kage[c] = 0; kt[c] = term[c] } \
  :: d_step { ka[c]==1 && kt[c]!=0 && OWNS(c,kt[c]) -> sage = 0; ka[c] = 2 } \
  :: d_step { ka[c]==1 && kt[c]==0 && owner==NONE && rev<NR -> \
       NEWTERM(c) rev++; owner = c; sage = 0; kt[c] = rev; ka[c] = 2; printf("T c%d is elected, term %d\n",c,rev) } \
  :: d_step { RESUME(c) && ka[c]==1 && kt[c]==0 -> sage = 0; kt[c] = rev; ka[c] = 2 } \
  :: d_step { ka[c]==2 && term[c]!=0 -> \
       if :: RECEIVED(c) < vage[c] -> vage[c] = RECEIVED(c) :: else fi; ka[c] = 0; kage[c] = 0; kt[c] = 0 } \
  :: d_step { ka[c]==2 && term[c]==0 && kage[c]<TV -> elected(c); ka[c] = 0; kage[c] = 0; kt[c] = 0 } \
  :: d_step { ka[c]!=0 -> ka[c] = 0; kage[c] = 0; kt[c] = 0 }                        /* lost, or refused */ \
  :: d_step { term[c]!=0 -> printf("T c%d stops, or starts anew\n",c); stepdown(c) } \
  :: d_step { term[c]!=0 && OWNS(c,term[c]) -> printf("T c%d resigns\n",c); RESIGNED(c) owner = NONE; sage = 0 }
#ifdef M_RESIGN_FIRST                  /* the store is told before its own term is over */
#define RESIGNED(c)
#else
#define RESIGNED(c) stepdown(c);
#endif
  ELECTION(0) ELECTION(1)
#ifdef SELF
  :: d_step { term[0]!=0 && OWNS(0,term[0]) && !mark -> mark = 1; printf("T X confirms in term %d\n",rev) }
  :: d_step { term[1]!=0 && OWNS(1,term[1]) && !noted -> mark = 0; noted = 1; printf("T Y is noted in term %d\n",rev) }
#ifdef M_SELF_GRANT_LONG
  :: d_step { VALID(0) && !view[0] -> agranted = 1; ca = 0 }
#endif
#endif

  /* ---- A's lease ---- */
  :: d_step { m==0 && HBGUARD -> m = 1; mage = 0 }
  :: d_step { m>0 -> m = 0; mage = 0 }                                                /* lost */
#define GRANTS(c) \
  :: d_step { m==1 && MAYGRANT(c) && NOTED && !view[c] && !storing[c] -> m = 2; wcl[c] = 0; printf("T c%d grants\n",c) }
#ifndef SELF
  GRANTS(0)
#endif
  GRANTS(1)
#if defined(SELF) && !defined(M_KEEP_OLD_GRANT)
#define TAKEN (term[0]==0)              /* a coordinator is nobody's holder */
#else
#define TAKEN true
#endif
  :: d_step { m==2 ->
       if :: mage < L && (!agranted || mage < ca) && TAKEN -> agranted = 1; ca = mage; printf("T A has a lease, %d old\n",ca)
          :: else fi; m = 0; mage = 0 }

  /* ---- changes of the slot's record ---- */
#define PROMOTES(c) \
  :: d_step { VALID(c) && !view[c] && !storing[c] && wcl[c]>=WAIT && tx[c]==0 -> \
       tx[c] = term[c]; STORES(c) printf("T c%d promotes B\n",c) }
#ifdef M_GRANT_WHILE_STORING
#define STORES(c)
#else
#define STORES(c) storing[c] = 1;
#endif
#define CHANGE(c) \
  :: d_step { tx[c]!=0 && FENCED(c) -> INORDER(c) prim = 1; tx[c] = 0; printf("T the store has it: B is primary\n") } \
  :: d_step { tx[c]!=0 && !FENCED(c) -> if :: term[c]==tx[c] -> stepdown(c) :: else fi; tx[c] = 0 } \
  :: d_step { tx[c]!=0 -> tx[c] = 0 }                                                 /* lost: outcome unknown */ \
  :: d_step { term[c]!=0 && prim==1 && !view[c] -> view[c] = 1; storing[c] = 0; wcl[c] = 0 } UNKNOWN(c)
#ifdef HARM
#define INORDER(c)
#else
#define INORDER(c) assert(tx[c] >= loaded);
#endif
#ifdef M_UNKNOWN_IS_NO                 /* no answer in time is taken for: not done */
#define UNKNOWN(c) :: d_step { storing[c] -> storing[c] = 0; printf("T c%d takes it for not done\n",c) }
#else
#define UNKNOWN(c)
#endif
#ifndef SELF
  PROMOTES(0)
#endif
  PROMOTES(1)
  CHANGE(0) CHANGE(1)
#ifdef PROBE                           /* not a mistake: the whole path can be gone */
  :: d_step { prim==1 && rev==NR && VALID(0) && view[0] -> assert(false) }
#endif
  :: d_step { prim==1 && AVALID -> assert(!(prim==1 && AVALID)) }                     /* two primaries */
  od
}
