/* succession.pml - does the loss of the coordinator pause anybody?
 *
 * Time is real, in twentieths of a second; what clocks and timers add is in the
 * parameters, rounded up: a holder's lease is one tick shorter than L, the
 * store's is one longer than T.  Everything happens at the latest moment that
 * is allowed, or at any earlier one.
 *
 *   A heartbeat each H; a message takes up to D; the store expires a key up
 *   to G late; a successor is ready B after it has won: it has read the map
 *   and is known to the holders.  A heartbeat to a dead coordinator is lost.
 *
 * -DEAGER  a holder that learns of a new coordinator sends a heartbeat at once
 */
#ifndef L
#define L 80
#endif
#ifndef T
#define T 40
#endif
#ifndef H
#define H 10
#endif
#ifndef D
#define D 1
#endif
#ifndef G
#define G 10
#endif
#ifndef B
#define B 4
#endif
byte ca;                 /* since the sending of the newest heartbeat that was granted */
byte next;               /* until the next heartbeat is sent */
byte st[2]; byte age[2]; /* heartbeats on their way: 1 to the coordinator, 2 its grant; since its sending */
byte hop[2];             /* since this message's sending */
byte who;                /* 0 X coordinates, 1 X has died, 2 the key has expired, 3 Y has heard, 4 Y is elected, 5 Y coordinates */
byte t;                  /* since the newest of these; before: of X's life */
#define ALIVE (who==0 || who==5)
#define MUST(h) (st[h]!=0 && hop[h]>=D)
inline arrive(h) {
  if :: st[h]==1 && !ALIVE -> st[h] = 0; age[h] = 0
     :: st[h]==1 && ALIVE -> st[h] = 2
     :: else -> if :: age[h] < ca -> ca = age[h] :: else fi; st[h] = 0; age[h] = 0 fi;
  hop[h] = 0
}
#define LATEST(w) (w==1 -> T+1+G : (w==2 -> D : (w==3 -> 2*D : B)))
#define SOONEST(w) (w==1 -> T-T/3 : 0)      /* X's newest keep-alive was received a third of T before it died, or later */
#ifdef EAGER                                /* a holder that learns of a new coordinator sends a heartbeat at once */
#define HEARSAY ; if :: who==5 -> next = 0 :: else fi
#else
#define HEARSAY
#endif
active proctype World() {
  next = H;
end: do
  /* a tick, if nothing is overdue */
  :: d_step { !MUST(0) && !MUST(1) && next>0 && (ALIVE || t < LATEST(who)) && who<5 ->
       ca++; next--; printf("T %d\n",ca);
       if :: !ALIVE -> t++ :: else fi;
       if :: st[0]!=0 -> age[0]++; hop[0]++ :: else fi;
       if :: st[1]!=0 -> age[1]++; hop[1]++ :: else fi;
       assert(ca < L-1) }                   /* A's lease is valid */
  :: d_step { !MUST(0) && !MUST(1) && next>0 && who==5 && t<2*H ->      /* until Y's grants are there */
       ca++; next--; t++;
       if :: st[0]!=0 -> age[0]++; hop[0]++ :: else fi;
       if :: st[1]!=0 -> age[1]++; hop[1]++ :: else fi;
       assert(ca < L-1) }
  :: d_step { next==0 && st[0]==0 -> st[0] = 1; hop[0] = 0; age[0] = 0; next = H; printf("T heartbeat\n") }
  :: d_step { next==0 && st[0]!=0 && st[1]==0 -> st[1] = 1; hop[1] = 0; age[1] = 0; next = H; printf("T heartbeat\n") }
  :: d_step { st[0]!=0 -> printf("T message %d arrives\n",st[0]); arrive(0) }
  :: d_step { st[1]!=0 -> printf("T message %d arrives\n",st[1]); arrive(1) }
  :: d_step { who==0 -> who = 1; t = 0; printf("T X dies\n") }
  :: d_step { who>=1 && who<5 && t>=SOONEST(who) -> who++; t = 0; printf("T successor, step %d\n",who) HEARSAY }
#ifdef PROBE                                /* not a mistake: a successor's grant arrives */
  :: d_step { who==5 && t>=H && ca<=H -> assert(false) }
#endif
  od
}
