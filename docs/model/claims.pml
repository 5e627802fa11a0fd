/* claims.pml: the proof by storage (Q), and the claims that end it before a host is declared dead.
 *
 * What is modelled, and the code beside it
 *   host 0 in one incarnation reads M volumes and proves its lease                    cluster/host/prove.go, storagehb/set.go
 *   offices, numbered by their epochs: suspect, withdraw, publish, observe, read the
 *     claim once more, condemn, propose; and what the end of an office takes back     cluster/master/{claims,storage,master}.go
 *   on each volume the two copies of the claim in the slot of each office's host      storagehb/worker.go
 *   the state machine: DeclareDead is refused in a later epoch                        fsm/apply.go
 *
 * What must hold: when DeclareDead is applied host 0 has no lease, and it gets none after.
 *
 * Time is that of lease_n.pml: one tick for all, countdowns on their owners' clocks, DRIFT ticks for
 * the masters alone, and any number of steps between two ticks.
 *
 * Abstractions, and why they lose no counterexample
 *   An ended lease is over (R4): the search ends there. Watchdog, reset and drain are left out on both sides.
 *   Acknowledgements. lease_n.pml has the detail of a heartbeat that is received, confirmed and acknowledged;
 *     by storage it is the same over another medium. One that is delivered at once is worth at least as much
 *     as the same one later, and the wait counts from it no later: a grant is one step here.
 *   Raft is that of lease_n.pml: an earlier leader commits nothing once a later one has a majority; a proposal
 *     whose fate is open is committed or lost before the next office begins.
 *   A reading is worth its beginning, and shows each block as it was at some moment after. To begin at that
 *     moment is worth more: one step. A host keeps the last reading of each volume until it is worth nothing.
 *   A write that lands and is known to have landed later: known at once, the wait begins no later.
 *     One that fails, or that a volume that hangs holds back, does not happen. A volume that does not work is
 *     one of which nothing is read any more.
 *   A write that an earlier life of the master's host left under way says nothing of host 0 and is older
 *     than all that this life writes: it lands over either copy, GHOSTS times.
 *   Of a claim's content only whether it lists host 0 matters. Versions that differ in other hosts are published at will.
 *   Every office has a host, and so a slot, of its own: what an earlier one in the same slot wrote is such an old write.
 *
 * Bounds: M volumes, EMAX offices, VMAX versions in each, GHOSTS, a lease of L ticks.
 */
#ifndef L
#define L 2
#endif
#ifndef MU
#define MU 1            /* the allowance for the clocks in D */
#endif
#ifndef DRIFT
#define DRIFT 1
#endif
#ifndef M
#define M 1
#endif
#ifndef EMAX
#define EMAX 1
#endif
#ifndef VMAX
#define VMAX 2
#endif
#ifndef GHOSTS
#define GHOSTS 1
#endif
#ifndef W
#define W ((M+1)/2)
#endif
#ifndef R
#define R (M-W+1)
#endif
#define D (L+MU)
#define NONE 15         /* host 0 does not stand on that volume */
#define I(e,k) ((e)*M+(k))

/* raft and the state machine */
byte cur = 1;           /* the latest epoch with a majority */
bit  dead;              /* committed: host 0's incarnation is dead */

/* offices, from 1 */
bit  el[EMAX+1];        /* it is, or was, committed */
bit  on[EMAX+1];        /* it acts */
bit  sus[EMAX+1], cond[EMAX+1], pend[EMAX+1];
byte wait[EMAX+1];      /* ticks until max(Acknowledged, Elected) + D */
byte ver[EMAX+1];       /* the last version published */
byte first[EMAX+1];     /* the version since which host 0 is listed without a break; 0: it is not */
byte lists[EMAX+1];     /* bit v: version v lists host 0 */

/* what the office knows of each volume (standing in claims.go) */
byte last[(EMAX+1)*M], before[(EMAX+1)*M];
byte since[(EMAX+1)*M]; /* ticks until D after host 0 stands there, or NONE */
byte at[(EMAX+1)*M];    /* ticks until D after the last was complete */
bit  whole[(EMAX+1)*M];
bit  again[(EMAX+1)*M]; /* read once more after the wait, and found the highest */

/* the volumes: two copies in each office's slot; 0: an old write, or none */
byte one[(EMAX+1)*M], two[(EMAX+1)*M];
bit  newest[(EMAX+1)*M]; /* the copy that the writer knows to hold its newest */
byte ghosts = GHOSTS;

/* host 0 */
byte lease = L, drift = DRIFT;
byte worth[M];          /* of the last reading of each volume; 0: none */
byte seen[M];           /* the highest claim in it: epoch and whether it lists host 0; 0: no claim */

byte n, best, h;        /* of one step */
inline down(x)    { if :: x > 0 -> x-- :: else fi }
inline stand(x)   { if :: x > 0 && x != NONE -> x-- :: else fi }
#define TOP(e,k)   (one[I(e,k)] > two[I(e,k)] -> one[I(e,k)] : two[I(e,k)])
#define OTHER(e,k) (one[I(e,k)] > two[I(e,k)] -> two[I(e,k)] : one[I(e,k)])
#if EMAX == 1
#define LATER(e,k) (0)
#define TAKEN(e)   (false)
#else
#define LATER(e,k) ((e) == 1 && TOP(2,k) > 0)
#define TAKEN(e)   ((e) == 1 && el[2])
#endif
#define LISTED(e,k) ((lists[e] >> TOP(e,k)) & 1)
/* the highest claim on a volume: 2*epoch + whether it lists host 0 */
#if EMAX == 1
#define HIGHEST(k) (TOP(1,k) > 0 -> 2 + LISTED(1,k) : 0)
#else
#define HIGHEST(k) (TOP(2,k) > 0 -> 4 + LISTED(2,k) : (TOP(1,k) > 0 -> 2 + LISTED(1,k) : 0))
#endif

/* ---- raft ---- */
#if EMAX > 1
#define WIN      :: d_step { cur < EMAX -> cur++; printf("epoch %d has a majority\n", cur) }
#define TAKE(e)  :: d_step { cur == (e) && !el[e] -> el[e] = 1; on[e] = 1; wait[e] = D; pend[1] = 0; printf("office %d begins\n", e) }
#else
#define WIN
#define TAKE(e)
#endif
#define DIES(e)  :: d_step { pend[e] && !TAKEN(e) -> pend[e] = 0; dead = 1; \
	printf("DeclareDead of office %d is committed: host 0 has a lease of %d ticks\n", e, lease); assert(lease == 0) }

/* ---- the office ---- */
#define GRANT(e)    :: d_step { on[e] && cur == (e) && !sus[e] && !cond[e] && !dead -> lease = L; wait[e] = D; printf("office %d acknowledges\n", e) }
#define SUSPECT(e)  :: d_step { on[e] && cur == (e) && !sus[e] -> sus[e] = 1; printf("office %d suspects host 0\n", e) }
#define WITHDRAW(e) :: d_step { on[e] && sus[e] && !cond[e] -> sus[e] = 0; printf("office %d withdraws its suspicion\n", e) }

#ifdef KEEP_SINCE                       /* a host that was withdrawn meanwhile stands as before */
#define FORGET(e,k)
#else
#define FORGET(e,k) since[I(e,k)] = NONE;
#endif
#define UNREAD(e,k) again[I(e,k)] = 0;
#if M == 1
#define COUNT(X,e) (X(e,0))
#define FORGETS(e) FORGET(e,0)
#define UNREADS(e) UNREAD(e,0)
#elif M == 2
#define COUNT(X,e) (X(e,0) + X(e,1))
#define FORGETS(e) FORGET(e,0) FORGET(e,1)
#define UNREADS(e) UNREAD(e,0) UNREAD(e,1)
#else
#define COUNT(X,e) (X(e,0) + X(e,1) + X(e,2))
#define FORGETS(e) FORGET(e,0) FORGET(e,1) FORGET(e,2)
#define UNREADS(e) UNREAD(e,0) UNREAD(e,1) UNREAD(e,2)
#endif
inline publish(e,s) {
	ver[e]++;
	if :: s -> lists[e] = lists[e] | (1 << ver[e]); if :: first[e] == 0 -> first[e] = ver[e] :: else fi
	   :: else -> first[e] = 0; FORGETS(e)
	fi;
	UNREADS(e)
	printf("office %d publishes version %d, lists host 0: %d\n", e, ver[e], s)
}
#define PUBLISH(e)  :: d_step { on[e] && ver[e] < VMAX -> publish(e, (sus[e] || cond[e])) }
/* withdrawAll: whoever is condemned stays listed */
#ifdef TAKE_BACK_ALL
#define KEEPS(e) (0)
#else
#define KEEPS(e) (cond[e])
#endif
#define QUIT(e)     :: d_step { on[e] -> if :: ver[e] > 0 && ver[e] < VMAX -> publish(e, KEEPS(e)) :: else fi; on[e] = 0; sus[e] = 0; printf("office %d ends\n", e) }

/* a version gets onto a volume and is known to: observe, what was written */
#ifdef WHOLE_ALWAYS                     /* what became of the version before is not looked at */
#define BROKEN(e,k) (false)
#else
#define BROKEN(e,k) (last[I(e,k)] > 0 && !whole[I(e,k)])
#endif
#ifdef NO_FIRST                         /* any version that is written counts for whoever is listed now */
#define COVERS(e,v) (first[e] != 0)
#else
#define COVERS(e,v) (first[e] != 0 && first[e] <= (v))
#endif
inline write(e,k,v) {
	if :: newest[I(e,k)] -> one[I(e,k)] = v :: else -> two[I(e,k)] = v fi;
	newest[I(e,k)] = 1 - newest[I(e,k)];
	if :: on[e] ->
		if :: BROKEN(e,k) -> since[I(e,k)] = NONE :: else fi;
		before[I(e,k)] = last[I(e,k)]; last[I(e,k)] = v; whole[I(e,k)] = 0; at[I(e,k)] = D;
		if :: COVERS(e,v) && since[I(e,k)] == NONE -> since[I(e,k)] = D :: else fi
	   :: else
	fi;
	printf("version %d of office %d is on volume %d\n", v, e, k)
}
#define WRITE(e,k,v) :: d_step { ver[e] >= (v) && last[I(e,k)] < (v) && TOP(e,k) < (v) -> write(e,k,v) }
#define GHOST(e,k)   :: d_step { ghosts > 0 && one[I(e,k)] > 0 -> ghosts--; one[I(e,k)] = 0; printf("an old write lands over copy 0 of office %d on volume %d\n", e, k) } \
	:: d_step { ghosts > 0 && two[I(e,k)] > 0 -> ghosts--; two[I(e,k)] = 0; printf("an old write lands over copy 1 of office %d on volume %d\n", e, k) }

/* a reading: observe, what was read; and once the wait is over, confirmed */
#define STOOD(e,k) (since[I(e,k)] == 0)
#ifdef ONE_VOLUME
#define NEED 1
#else
#define NEED W
#endif
#ifdef NO_CLAIM
#define OVER(e) (wait[e] == 0)
#elif defined(FROM_SUSPICION)           /* the claim stands, but the wait does not count from that */
#define WRITTEN(e,k) (since[I(e,k)] != NONE)
#define OVER(e) (wait[e] == 0 && COUNT(WRITTEN,e) >= NEED)
#else
#define OVER(e) (wait[e] == 0 && COUNT(STOOD,e) >= NEED)
#endif
#if defined(AGAIN_ANY) || defined(FROM_SUSPICION) /* it may be read once more on any volumes */
#define MAY(e,k) (true)
#else
#define MAY(e,k) STOOD(e,k)
#endif
inline look(e,k) {
	if :: last[I(e,k)] == 0 -> skip
	   :: last[I(e,k)] > 0 && TOP(e,k) == last[I(e,k)] ->
#ifndef WHOLE_ALWAYS
		if :: !whole[I(e,k)] && before[I(e,k)] != 0 && OTHER(e,k) != before[I(e,k)] && since[I(e,k)] != NONE && since[I(e,k)] < at[I(e,k)] -> since[I(e,k)] = at[I(e,k)] :: else fi;
#endif
		whole[I(e,k)] = 1
	   :: last[I(e,k)] > 0 && TOP(e,k) < last[I(e,k)] ->
#ifndef WHOLE_ALWAYS
		since[I(e,k)] = NONE;
#endif
		whole[I(e,k)] = 0
	   :: else
	fi;
	if :: OVER(e) && MAY(e,k) && last[I(e,k)] == ver[e] && TOP(e,k) == ver[e] && !LATER(e,k) -> again[I(e,k)] = 1 :: else fi;
	printf("office %d reads version %d on volume %d\n", e, TOP(e,k), k)
}
#define READ(e,k)   :: d_step { on[e] && sus[e] && !cond[e] -> look(e,k) }
#if defined(NO_REREAD) || defined(NO_CLAIM)
#define CONFIRMED(e) (true)
#else
#define AGAIN(e,k)   (again[I(e,k)] && MAY(e,k))
#define CONFIRMED(e) (COUNT(AGAIN,e) >= NEED)
#endif
#define CONDEMN(e)  :: d_step { on[e] && sus[e] && !cond[e] && OVER(e) && CONFIRMED(e) && !dead -> cond[e] = 1; \
	if :: cur == (e) -> pend[e] = 1 :: else fi; printf("office %d condemns host 0\n", e) }

/* ---- host 0 ---- */
#ifdef FROM_END
#define VALUE L
#else
#define VALUE n
#endif
#ifdef ANY_CLAIM                        /* any claim that does not list it will do */
#define BETTER(k) (best == 0 || (best & 1))
#else
#define BETTER(k) (seen[k] > best)
#endif
#define CLEAR(b) (((b) & 1) == 0)
inline include(k) {
	if :: worth[k] > 0 && BETTER(k) -> best = seen[k] :: else fi
}
/* n is the worth of the oldest of the R newest readings, 0 where there are fewer */
inline prove() {
	best = 0; include(0);
#if M == 1
	n = worth[0];
#elif M == 2
	include(1);
#if R == 2
	n = (worth[0] < worth[1] -> worth[0] : worth[1]);
#else
	n = (worth[0] > worth[1] -> worth[0] : worth[1]);
#endif
#else
	include(1); include(2); /* R is 2: the middle one */
	n = (worth[0] < worth[1] -> worth[0] : worth[1]); h = (worth[0] < worth[1] -> worth[1] : worth[0]);
	if :: worth[2] > n -> n = (worth[2] < h -> worth[2] : h) :: else fi;
	h = 0;
#endif
	if :: n > 0 && CLEAR(best) && VALUE > lease -> lease = VALUE; printf("host 0 proves: %d ticks\n", lease); assert(!dead) :: else fi;
	n = 0; best = 0
}
#define PROVE(k) :: d_step { worth[k] = L; seen[k] = HIGHEST(k); printf("host 0 reads volume %d: %d\n", k, seen[k]); prove() }

#if M == 1
#define VOLUMES(A)  A(0)
#define EACH(A,e)   A(e,0)
#define VERSIONS(A,e) PERV(A,e,0)
#elif M == 2
#define VOLUMES(A)  A(0) A(1)
#define EACH(A,e)   A(e,0) A(e,1)
#define VERSIONS(A,e) PERV(A,e,0) PERV(A,e,1)
#else
#define VOLUMES(A)  A(0) A(1) A(2)
#define EACH(A,e)   A(e,0) A(e,1) A(e,2)
#define VERSIONS(A,e) PERV(A,e,0) PERV(A,e,1) PERV(A,e,2)
#endif
#if VMAX == 1
#define PERV(A,e,k) A(e,k,1)
#elif VMAX == 2
#define PERV(A,e,k) A(e,k,1) A(e,k,2)
#else
#define PERV(A,e,k) A(e,k,1) A(e,k,2) A(e,k,3)
#endif
#if EMAX == 1
#define OFFICES(A)  A(1)
#else
#define OFFICES(A)  A(1) A(2)
#endif
#define WRITE_(e) VERSIONS(WRITE,e)
#define GHOST_(e) EACH(GHOST,e)
#define READ_(e)  EACH(READ,e)
#define STAND(e,k) stand(since[I(e,k)]); down(at[I(e,k)]);
#define FADE(k)    down(worth[k]); if :: worth[k] == 0 -> seen[k] = 0 :: else fi;
#define TICK(e)    down(wait[e]); EACH(STAND,e)
#define CLEAN(e,k) since[I(e,k)] = NONE;

active proctype world() {
	d_step { el[1] = 1; on[1] = 1; wait[1] = D; EACH(CLEAN,1)
#if EMAX > 1
	EACH(CLEAN,2)
#endif
	}
end:	do
	:: atomic {
		d_step { down(lease); VOLUMES(FADE) OFFICES(TICK) printf("-- tick: lease %d\n", lease) };
#ifndef REACH
		if :: lease == 0 -> break :: else fi
#endif
	   }
	:: d_step { drift > 0 -> drift--; OFFICES(TICK) printf("-- tick for the masters alone\n") }
	WIN OFFICES(TAKE) OFFICES(DIES) OFFICES(GRANT) OFFICES(SUSPECT) OFFICES(WITHDRAW) OFFICES(PUBLISH) OFFICES(QUIT)
	OFFICES(WRITE_) OFFICES(GHOST_) OFFICES(READ_) OFFICES(CONDEMN)
	VOLUMES(PROVE)
#ifdef REACH
	:: d_step { dead -> assert(false) }
#endif
	od
}
