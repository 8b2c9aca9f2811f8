/* fill.pml - what a move does to a slot's record: a replica more (from nobody),
 * another instead of one, and the lead with it.  S (0) leads and B (1) follows,
 * T (2) is to hold the slot as well.  Entries are a number (repl.pml has what
 * becomes of logs); who learns a map learns the newest one.  Here: the phases
 * and their targets' incarnations, who is a replica, who may leave and be
 * cleaned, under restarts, lost disks, removals and take-overs at any moment.
 *
 * -DFROM=n  who leaves: NONE (a replica more), 0 or 1;  -DLEAD  T is to lead
 * -DLIVE  bounded faults; final states must be whole
 * mistakes: M_*, each left out of a rule
 */
#ifndef NE
#define NE 6
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef NWR
#define NWR 2
#endif
#define NONE 3
#ifndef FROM
#define FROM NONE
#endif
#ifdef LEAD
#define LEADS true
#else
#define LEADS (FROM==0)
#endif
#define BIT(n) (1<<(n))
#define IN(n,set) (((set)>>(n))&1)
#define COUNT(set) (IN(0,set)+IN(1,set)+IN(2,set))
#define OTHER(n,set) ((n)!=0 && IN(0,set) || (n)!=1 && IN(1,set) || (n)!=2 && IN(2,set))

/* MAP: the record, and what of nodes is registered */
byte E = 1; byte prim; byte isr = 3; byte repl = 3; byte minc[3]; byte reg[3]; bool tko;
byte mph; byte mtinc;   /* the move: 0 none, 1 COPY, 2 JOINED */
bool ordered;
/* nodes: what they know of the record, what they have of the slot */
byte ke[3]; byte kprim[3]; byte kisr[3]; byte kplaces[3]; bool ktko[3]; byte kph[3];
byte inc[3]; byte has[3]; bool part[3]; bool act[3]; bool rel[3]; byte joiner[3];
bool relmsg; bool pact; byte pj; byte pjinc;      /* proposals on their way, of epoch E */
byte acked; byte crashes = CRASHES; byte rem = 1; byte pro = 1; byte wipes = 1;
#ifdef LIVE              /* it is not to need an operator who gives it up */
byte can;
#else
byte can = 1;
#endif
hidden byte h_i; hidden byte h_x; hidden byte h_ok;

#define ALIVE(n) (IN(n,isr) && minc[n]==inc[n] && reg[n]==inc[n])
#define PLACES (repl | ((mph!=0) * BIT(2)))
#ifdef M_LEAVES_TOO_FEW
#define MAYLEAVE(n) true
#else
#define MAYLEAVE(n) (COUNT(isr & ~BIT(n)) >= ((COUNT(repl)-1) < 2 -> (COUNT(repl)-1) : 2))
#endif
/* a change is made: what it means for the move, and what any record says */
inline store() {
  E++; relmsg = 0; pact = 0; pj = NONE;
  if :: mph==2 && IN(2,isr) -> mtinc = minc[2] :: else fi;
#ifndef M_STAYS_JOINED
  if :: mph==2 && !IN(2,isr) && FROM==NONE -> mph = 0
     :: mph==2 && !IN(2,isr) && FROM!=NONE -> mph = 1; repl = repl & ~BIT(2)
     :: else fi;
#endif
#ifndef M_LED_LEFT_OPEN
  if :: mph==2 && FROM==NONE && prim==2 -> mph = 0 :: else fi;
#endif
  printf("T     e%d: n%d leads, in sync %d, replicas %d, move %d\n",E,prim,isr,repl,mph);
  assert((isr & ~repl)==0 && IN(prim,isr));           /* whoever is in sync is a replica */
  assert(mph==0 || (mph==2)==IN(2,repl));             /* the target from its JOIN on */
  assert(mph!=2 || IN(2,isr));
  assert(COUNT(repl)>=2)
}
#define SERVES(n) (act[n] && kprim[n]==n && ke[n]>0)

/* the wait set of @p has the first @k writes, and is in its epoch */
#define HAS(p,n,k) (has[n]>=k && !part[n] && ke[n]==ke[p])
#ifdef M_JOIN_EARLY
#define WAITED(p) kisr[p]
#else
#define WAITED(p) (kisr[p] | ((joiner[p]<NONE) * BIT(joiner[p])))
#endif
#define ALLHAVE(p,k) ((!IN(0,WAITED(p)) || HAS(p,0,k)) && (!IN(1,WAITED(p)) || HAS(p,1,k)) && (!IN(2,WAITED(p)) || HAS(p,2,k)))
#define HASALL(m) (IN(m,isr) && has[m]>=acked && !part[m])
#define LEAVES(n) (FROM==n)
#define TORELEASE(p) (kph[p]==2 && p!=2 && (LEADS || LEAVES(p)))

proctype Node(byte n) {
end:  do
  :: d_step { ke[n]<E && reg[n]==inc[n] -> 
       h_ok = (kprim[n]==n && prim==n && act[n]);      /* goes on */
       ke[n] = E; kprim[n] = prim; kisr[n] = isr; kplaces[n] = PLACES; ktko[n] = tko; kph[n] = mph; joiner[n] = NONE; rel[n] = 0;
       if :: IN(n,isr) && minc[n]!=inc[n] -> kprim[n] = NONE :: else fi;       /* RESTARTED */
       act[n] = h_ok; h_ok = 0 }
  /* ---- leads ---- */
  :: d_step { kprim[n]==n && !act[n] && !rel[n] && ke[n]==E && ALLHAVE(n,has[n]) -> act[n] = 1;
       printf("T n%d serves in e%d\n",n,ke[n]); assert(has[n]>=acked && !part[n]) }
  :: d_step { SERVES(n) && has[n]<NWR && !TORELEASE(n) -> has[n]++ }
  :: d_step { SERVES(n) && acked<has[n] && ALLHAVE(n,acked+1) -> acked++; printf("T n%d acks %d\n",n,acked) }
  :: d_step { SERVES(n) && ktko[n] && ke[n]==E && !pact -> pact = 1 }
#define JOIN(f) \
  :: d_step { SERVES(n) && !ktko[n] && n!=f && IN(f,kplaces[n]) && !IN(f,kisr[n]) && joiner[n]==NONE && !TORELEASE(n) && ke[n]==E && \
       (f!=2 || kph[n]==0 || mtinc==inc[f]) && CAUGHT(f) -> joiner[n] = f; pj = f; pjinc = inc[f] }
#ifdef M_NO_CATCHUP
#define CAUGHT(f) ke[f]==ke[n]
#else
#define CAUGHT(f) HAS(n,f,acked)
#endif
  JOIN(0) JOIN(1) JOIN(2)
  :: d_step { SERVES(n) && TORELEASE(n) && !ktko[n] && acked==has[n] && joiner[n]==NONE && ke[n]==E -> act[n] = 0; rel[n] = 1; relmsg = 1 }
  /* ---- follows: a copy first, if it is new; then entries; what the one that leads has not is cut ---- */
#define LEADER kprim[n]
#define FOLLOWS (kprim[n]!=n && kprim[n]<NONE && ke[kprim[n]]==ke[n] && kprim[kprim[n]]==kprim[n] && IN(n,kplaces[n]))
  :: d_step { FOLLOWS && !IN(n,kisr[n]) && has[n]==0 && !part[n] && joiner[LEADER]!=n && act[LEADER] -> part[n] = 1 }
  :: d_step { FOLLOWS && part[n] && act[LEADER] -> part[n] = 0; has[n] = acked }
  :: d_step { FOLLOWS && !part[n] && has[n]<has[LEADER] && (has[n]>0 || IN(n,kisr[n])) -> has[n]++ }
  :: d_step { FOLLOWS && has[n]>has[LEADER] -> has[n] = has[LEADER]; assert(!ALIVE(n) || ke[n]<E || has[n]>=acked) }
  /* ---- OUT: cleaned when the record's primary is known to serve ---- */
#define KNOWN (!IN(n,kplaces[n]) && !ktko[n] && ke[n]>0)
  :: d_step { has[n]>0 && !IN(n,repl) && KNOWN && !(kprim[n]==n) -> printf("T n%d is cleaned\n",n); has[n] = 0; part[n] = 0;
       assert(!IN(n,PLACES) && (HASALL(0) || HASALL(1) || HASALL(2))) }
  /* ---- faults ---- */
#define RESTART inc[n]++; act[n] = 0; rel[n] = 0; joiner[n] = NONE; ke[n] = 0; kprim[n] = NONE; kph[n] = 0
  :: d_step { crashes>0 -> crashes--; RESTART; printf("T n%d restarts\n",n) }
  /* with a new disk: it may be lost as long as another in sync has one */
  :: d_step { wipes>0 && crashes>0 && (!IN(n,isr) || (n!=0 && ALIVE(0) || n!=1 && ALIVE(1) || n!=2 && ALIVE(2))) ->
       wipes--; crashes--; RESTART; has[n] = 0; part[n] = 0; printf("T n%d restarts, empty\n",n) }
  od
}

proctype Map() {
end:  do
  /* ---- orders ---- */
  :: d_step { E<NE && !ordered && mph==0 && !IN(2,repl) -> ordered = 1; mph = 1; mtinc = reg[2]; printf("T MAP: move\n"); store() }
  :: d_step { E<NE && can>0 && mph!=0 -> can--; mph = 0; printf("T MAP: cancel\n"); store() }
  /* ---- proposals ---- */
#ifdef M_STALE_TARGET
#define REGISTERED true
#define PROCESS reg[pj]
#else
#define PROCESS pjinc
#define REGISTERED (reg[pj]==pjinc)
#endif
#ifdef M_NO_REPLICA
#define ENTERS skip
#else
#define ENTERS repl = repl | BIT(2)
#endif
#ifdef M_LEFT_OPEN
#define FILLED skip
#else
#define FILLED if :: FROM==NONE && !LEADS -> mph = 0 :: else fi
#endif
  :: d_step { E<NE && pj<NONE && REGISTERED && !IN(pj,isr) && IN(pj,PLACES) -> isr = isr | BIT(pj); minc[pj] = PROCESS;
       if :: pj==2 && mph==1 -> ENTERS; mph = 2; FILLED :: else fi; printf("T MAP: join\n"); store() }
  :: d_step { pj<NONE && reg[pj]!=pjinc -> if :: joiner[prim]==pj && ke[prim]==E -> joiner[prim] = NONE :: else fi; pj = NONE; pjinc = 0 }
  :: d_step { E<NE && pact && tko && reg[prim]==minc[prim] -> tko = 0; printf("T MAP: active\n"); store() }
#define TO(m) (m!=prim && ALIVE(m))
#define RELEASE(m) \
  :: d_step { E<NE && relmsg && reg[prim]==minc[prim] && TO(m) && (m==2 || !(mph==2 && TO(2))) -> h_x = prim; prim = m; tko = 1; \
       if :: mph==2 && m==2 && LEAVES(h_x) && MAYLEAVE(h_x) -> isr = isr & ~BIT(h_x); repl = repl & ~BIT(h_x); mph = 0 :: else fi; h_x = 0; printf("T MAP: release\n"); store() }
  RELEASE(0) RELEASE(1) RELEASE(2)
  :: d_step { E<NE && relmsg && !TO(0) && !TO(1) && !TO(2) && reg[prim]==minc[prim] -> tko = 1; printf("T MAP: release, nobody there\n"); store() }
  /* ---- what time brings ---- */
#define REMOVE(m) \
  :: d_step { E<NE && rem>0 && ALIVE(prim) && act[prim] && m!=prim && IN(m,isr) -> rem--; isr = isr & ~BIT(m); printf("T MAP: remove\n"); store() } \
  :: d_step { reg[m]!=inc[m] -> reg[m] = inc[m] } \
  :: d_step { E<NE && IN(m,isr) && minc[m]!=reg[m] && m!=prim && (ALIVE(0) || ALIVE(1) || ALIVE(2)) -> isr = isr & ~BIT(m); printf("T MAP: restarted\n"); store() } \
  :: d_step { E<NE && m!=prim && ALIVE(m) && minc[prim]!=reg[prim] -> isr = isr & ~BIT(prim); prim = m; tko = 1; printf("T MAP: leader restarted\n"); store() } \
  :: d_step { E<NE && pro>0 && m!=prim && ALIVE(m) && minc[prim]==reg[prim] -> pro--; act[prim] = 0; isr = isr & ~BIT(prim); prim = m; tko = 1; printf("T MAP: take-over\n"); store() } \
  :: d_step { E<NE && IN(m,isr) && LOST && has[m]>=acked && !part[m] -> isr = BIT(m); minc[m] = reg[m]; prim = m; tko = 1; printf("T MAP: recovery\n"); store() }
#define GONE(m) (!IN(m,isr) || (minc[m]!=reg[m] && reg[m]==inc[m]))
#define LOST (GONE(0) && GONE(1) && GONE(2))
  REMOVE(0) REMOVE(1) REMOVE(2)
#ifndef M_TARGET_INC
  :: d_step { E<NE && mph==1 && reg[2]!=mtinc -> mtinc = reg[2]; printf("T MAP: target restarted\n"); store() }
#endif
#if FROM<NONE
  :: d_step { E<NE && mph==2 && FROM!=prim && ALIVE(2) && (!LEADS || prim==2) ->
       if :: MAYLEAVE(FROM) -> h_x = COUNT(isr); isr = isr & ~BIT(FROM); repl = repl & ~BIT(FROM);
             assert(COUNT(isr)>=2 || COUNT(repl)<2); h_x = 0 :: else fi;
       mph = 0; printf("T MAP: switch\n"); store() }
#endif
  od
}

#ifdef LIVE
proctype Final() {
end:  timeout ->
  if :: E==NE -> skip       /* the model's epochs are used up: no verdict */
     :: else -> d_step {
#ifdef PROBE                /* not a mistake: the end is reached, with the move done */
        assert(!IN(2,isr));
#endif
        assert(mph==0 && isr==repl && !tko && act[prim] && acked==NWR);
        assert(ordered && (FROM!=NONE || repl==7));
        assert(HASALL(0) || !IN(0,repl)); assert(HASALL(1) || !IN(1,repl)); assert(HASALL(2) || !IN(2,repl)) }
  fi
}
#endif

init { atomic {
  ke[0] = 1; ke[1] = 1; ke[2] = 1; kisr[0] = 3; kisr[1] = 3; kisr[2] = 3; kplaces[0] = 3; kplaces[1] = 3; kplaces[2] = 3;
  joiner[0] = NONE; joiner[1] = NONE; joiner[2] = NONE; pj = NONE; act[0] = 1; has[0] = 1; has[1] = 1; acked = 1;
  run Node(0); run Node(1); run Node(2); run Map();
#ifdef LIVE
  run Final()
#endif
} }
