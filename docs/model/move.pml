/* move.pml: a VM goes from one host to another while it runs, or shut down and started there.
 *
 * What is modelled, and the code beside it
 *   one protected VM on host 0, and NH hosts to which it can go
 *   the state machine: BeginMove, EndMove, Assign, Report (running, moved, move_failed,
 *     released), DeclareDead                                                      fsm/move.go, placements.go
 *   each host's copy of the state, which lags by any amount and goes back to an old one
 *     when the agent is restarted, until it can be trusted                        cluster/host: gather
 *   what a host does about a move of its VM, about a copy that waits, and about a
 *     placement of its own; the record of moves begun                             cluster/host/move.go
 *   a migration: the copy arrives stopped, the source's processors stop, the copy is whole,
 *     the source's process ends, or the source goes on; it breaks anywhere, leaves a copy
 *     behind or not, and goes on without the agent that began it                  vmm, move_jobs.go
 *   reports that are on their way for any time; the agent restarted between any two steps;
 *     the death of any host at any moment
 *
 * What must hold: the VM's processors run on one host at most (S1). What is let run from a copy is
 * the VM's latest memory: it has not run anywhere since. What the state calls running was let run
 * by its owner in that generation.
 *
 * What is taken from the other models
 *   (lease_n) A host is declared dead only when its lease has ended, and that lease does not come back.
 *   (guard) At the end of a lease what is covered is gone.
 *   (orders) A start is undone or finished as the order says; a placement is carried out once.
 *   A host has one life here: before the next it has proven that no process is left, copies too (R4).
 *
 * Abstractions, and why they lose no counterexample
 *   What a host sees of its own processes is what is there. The code reads a list; where a stale one
 *     could matter (a placement with memory, the end of a job) it waits for one that began after.
 *   A start, and letting a copy run, is one step: orders.pml has what can come between.
 *   The patience before a copy is ended (M4) is no rule of safety: any time.
 *   A migration is opened only while the agent waits that asked for it, and while the target's copy of
 *     the state has the move: its way leads through both agents.
 *   Reports are never lost: a late one is the worse case.
 *
 * Bounds: NH hosts, MMAX moves, VMAX changes of the state, RESTARTS of agents.
 */
#ifndef NH
#define NH 3
#endif
#ifndef MMAX
#define MMAX 2
#endif
#ifndef VMAX
#define VMAX 5
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif
#ifndef COLDS
#define COLDS 1                 /* 1: any move may be cold; 0: none is */
#endif
#define NOBODY 3
#define GMAX VMAX

/* ---- the replicated state, as it was after each change ---- */
byte ver;
byte gen[VMAX+1] = 1, owner[VMAX+1], move[VMAX+1], to[VMAX+1];
bit  phase[VMAX+1], from[VMAX+1], chill[VMAX+1];    /* the owner's: reported running; came by a move; by a cold one */
byte moves;                     /* ordered so far; a move's number */
bit  cold[MMAX+1];              /* of a move */
bit  dead[NH];
bit  let_[GMAX+2];              /* a generation was let run by its owner */

/* reports on their way */
bit  rrun[GMAX+2], rrel[GMAX+2], rmoved[MMAX+1], rfailed[MMAX+1];
byte rgen[MMAX+1];              /* the generation that a report of this move names */

/* ---- each host ---- */
bit  lease[NH] = 1;
byte exec[NH], way[NH];         /* record: highest generation executed; the move that was begun */
byte copy[NH], trust[NH];       /* version of the copy; trusted from version + 1, 0: from none */
byte waits[NH];                 /* the move whose migration this run of the agent waits for */
byte left_[NH];                 /* the move whose end this run knows: */
bit  gone[NH];                  /* it is whole there, and nothing is left here */

/* ---- the hypervisors ---- */
#define NONE 0
#define COPY 1                  /* arriving, stopped */
#define WHOLE 2                 /* arrived, stopped */
#define RUNS 3
#define HANDED 4                /* stopped: all of it has been sent */
byte proc[NH];
bit  bymove[NH];                /* the last process here ended by a migration */
bit  mig[NH];                   /* a migration from here goes on, to: */
byte dest[NH], migmove[NH];
byte latest = NOBODY;           /* the host whose copy is the VM's latest memory */
byte restarts = RESTARTS;

#define HELD(h)    (lease[h])
#define TRUSTED(h) (trust[h] != 0 && copy[h]+1 >= trust[h])
#define ACTS(h)    (HELD(h) && TRUSTED(h))
#define G(h)       gen[copy[h]]
#define M(h)       move[copy[h]]
#define MINE(h)    (owner[copy[h]] == (h))
#define WAITS(h)   (proc[h] == COPY || proc[h] == WHOLE)
#define COMES(h)   (M(h) != 0 && to[copy[h]] == (h) && !cold[M(h)])
#define ROOM       (ver < VMAX)

/* the next version, equal to the last */
inline change() { ver++; gen[ver] = gen[ver-1]; owner[ver] = owner[ver-1]; move[ver] = move[ver-1]; to[ver] = to[ver-1];
	phase[ver] = phase[ver-1]; from[ver] = from[ver-1]; chill[ver] = chill[ver-1] }
inline end_move() { move[ver] = 0; to[ver] = 0 }
inline release()  { owner[ver] = NOBODY; phase[ver] = 0; from[ver] = 0; chill[ver] = 0; end_move() }
inline place(h)   { gen[ver] = gen[ver] + 1; owner[ver] = h; phase[ver] = 0 }
inline one()      { assert((proc[0] == RUNS) + (proc[1] == RUNS)
#if NH == 3
	+ (proc[2] == RUNS)
#endif
	<= 1) }
/* the process of a host is gone, and a migration from it with that */
inline end_proc(h) { proc[h] = NONE; bymove[h] = 0; if :: mig[h] -> lose(h) :: else fi }
/* a migration breaks: what has come of the copy stays, or does not */
inline lose(h) { if :: proc[dest[h]] == COPY -> proc[dest[h]] = NONE :: true fi; mig[h] = 0; dest[h] = 0; migmove[h] = 0 }

/* ---- master and state machine ---- */
#define BEGIN(t,c) :: d_step { ROOM && moves < MMAX && owner[ver] != NOBODY && owner[ver] != (t) && phase[ver] && move[ver] == 0 && !dead[t] -> change(); moves++; cold[moves] = c; move[ver] = moves; to[ver] = t; \
	printf("state: move %d (cold: %d) of generation %d from host %d to host %d\n", moves, c, gen[ver], owner[ver], t) }
#define ENDMOVE    :: d_step { ROOM && move[ver] != 0 -> change(); printf("state: move %d is called off\n", move[ver]); end_move() }
#define ASSIGN(h)  :: d_step { ROOM && owner[ver] == NOBODY && !dead[h] -> change(); place(h); printf("state: generation %d is placed on host %d\n", gen[ver], h) }
#define DIES(h)    :: d_step { ROOM && !dead[h] && !lease[h] -> change(); dead[h] = 1; if :: owner[ver] == (h) -> release() :: else fi; if :: move[ver] != 0 && to[ver] == (h) -> end_move() :: else fi; \
	printf("state: host %d is dead\n", h) }
#define ALIVE      (owner[ver] != NOBODY && !dead[owner[ver]])
#define RUNNING(g) :: d_step { rrun[g] && ROOM && gen[ver] == (g) && ALIVE && !phase[ver] -> change(); phase[ver] = 1; printf("state: generation %d runs\n", g); assert(let_[g]) }
#define RELEASED(g) :: d_step { rrel[g] && ROOM && gen[ver] == (g) && ALIVE -> change(); release(); printf("state: generation %d is given back\n", g) }
#define MOVED(m)   :: d_step { rmoved[m] && ROOM && gen[ver] == rgen[m] && ALIVE -> change(); \
	if :: move[ver] == (m) && !dead[to[ver]] -> place(to[ver]); from[ver] = 1; chill[ver] = cold[m]; end_move(); printf("state: moved: generation %d is host %d's\n", gen[ver], owner[ver]) \
	   :: else -> release(); printf("state: given back after a move that was called off\n") fi }
#define FAILED(m)  :: d_step { rfailed[m] && ROOM && move[ver] == (m) -> change(); end_move(); printf("state: move %d has failed\n", m) }

/* ---- the host's knowledge ---- */
#define APPLY(h)  :: d_step { copy[h] < ver -> copy[h]++ }
#define ANSWER(h) :: d_step { trust[h] == 0 -> trust[h] = ver+1 }

/* ---- a host that owns the VM ---- */
/* O2 in one step: the record is raised, and the VM is let run */
#define START(h)  :: d_step { ACTS(h) && MINE(h) && exec[h] < G(h) && proc[h] == NONE -> exec[h] = G(h); proc[h] = RUNS; bymove[h] = 0; latest = NOBODY; let_[G(h)] = 1; \
	printf("host %d starts generation %d anew: it RUNS\n", h, G(h)); one() }
#ifdef KEEP_OLD                 /* whatever copy waits is let run */
#define BY_MEMORY(h) (true)
#elif defined(COLD_COPY)        /* also after a cold move */
#define BY_MEMORY(h) (from[copy[h]])
#else
#define BY_MEMORY(h) (from[copy[h]] && !chill[copy[h]])
#endif
#define TAKE(h)   :: d_step { ACTS(h) && MINE(h) && exec[h] < G(h) && WAITS(h) -> \
	if :: !BY_MEMORY(h) -> end_proc(h); printf("host %d ends a copy of another move\n", h) \
	   :: BY_MEMORY(h) && proc[h] == COPY -> exec[h] = G(h); end_proc(h); rrel[G(h)] = 1; printf("host %d: what has come is not whole\n", h) \
	   :: BY_MEMORY(h) && proc[h] == WHOLE -> exec[h] = G(h); proc[h] = RUNS; let_[G(h)] = 1; printf("host %d lets the copy run: generation %d RUNS\n", h, G(h)); one(); assert(latest == (h)); latest = NOBODY fi }
#ifdef REPORT_COPY              /* a process is a process */
#define LIVES(h) (proc[h] != NONE)
#else
#define LIVES(h) (proc[h] == RUNS)
#endif
#define SAY_RUNS(h) :: d_step { ACTS(h) && MINE(h) && LIVES(h) && !rrun[G(h)] && !phase[copy[h]] -> rrun[G(h)] = 1; if :: exec[h] < G(h) -> exec[h] = G(h) :: else fi }
/* a VM that nobody owns was seen running (sighting.pml): never a copy that waits */
#ifdef ADOPT_COPY
#define ADOPT(h)  :: d_step { ROOM && ACTS(h) && owner[ver] == NOBODY && !dead[h] && WAITS(h) -> change(); place(h); phase[ver] = 1; exec[h] = gen[ver]; printf("state: seen running on host %d\n", h); assert(let_[gen[ver]]) }
#else
#define ADOPT(h)
#endif
/* it is gone, and not by a move */
#define GONE(h)   :: d_step { ACTS(h) && MINE(h) && exec[h] >= G(h) && proc[h] == NONE && !BYWAY(h) && waits[h] == 0 && !rrel[G(h)] -> rrel[G(h)] = 1; printf("host %d: it is gone\n", h) }

/* ---- its move ---- */
#define KNOWN(h)  (way[h] == 0 || left_[h] == way[h])
#ifdef NO_ABORT                 /* a migration that nobody waits for goes on */
#define ADRIFT(h) (false)
#else
#define ADRIFT(h) (way[h] != 0 && !cold[way[h]] && waits[h] == 0 && (left_[h] != way[h] || proc[h] == HANDED))
#endif
#ifdef NO_ABORT
#define FREE(h)   (way[h] != M(h))
#else
#define FREE(h)   (way[h] != M(h) && KNOWN(h))
#endif
#define DEPART(h) :: d_step { ACTS(h) && MINE(h) && M(h) != 0 && !cold[M(h)] && waits[h] == 0 && proc[h] == RUNS && exec[h] >= G(h) && FREE(h) -> way[h] = M(h); waits[h] = M(h); left_[h] = 0; gone[h] = 0; \
	dest[h] = to[copy[h]]; printf("host %d begins move %d\n", h, M(h)) }
#define STOP(h)   :: d_step { ACTS(h) && MINE(h) && M(h) != 0 && cold[M(h)] && waits[h] == 0 && !ADRIFT(h) && proc[h] == RUNS && exec[h] >= G(h) -> way[h] = M(h); end_proc(h); printf("host %d shuts it down for move %d\n", h, M(h)) }
#define ABORT(h)  :: d_step { ACTS(h) && MINE(h) && ADRIFT(h) && proc[h] != NONE && !WAITS(h) -> \
	if :: mig[h] && proc[h] == HANDED -> proc[h] = RUNS; latest = NOBODY; lose(h) :: mig[h] && proc[h] == RUNS -> lose(h) :: else fi; left_[h] = way[h]; gone[h] = 0; \
	printf("host %d ends a migration that nobody waits for\n", h); one() }
#define FAIL(h)   :: d_step { ACTS(h) && MINE(h) && M(h) != 0 && way[h] == M(h) && waits[h] == 0 && left_[h] == way[h] && !gone[h] && proc[h] == RUNS && !rfailed[M(h)] -> rfailed[M(h)] = 1 }
#define FORGET(h) :: d_step { ACTS(h) && way[h] != 0 && waits[h] == 0 && KNOWN(h) && proc[h] != HANDED && M(h) != way[h] && !(MINE(h) && proc[h] == NONE) -> way[h] = 0; left_[h] = 0; gone[h] = 0 }
/* M3: proven gone, by the migration or because it was shut down for the move */
#define BYWAY(h)  (way[h] != 0 && (cold[way[h]] || left_[h] == way[h] && gone[h] || bymove[h]))
#ifdef EARLY                    /* all of it is there: the process here will end */
#define PROVEN(h) (proc[h] == NONE || proc[h] == HANDED)
#else
#define PROVEN(h) (proc[h] == NONE)
#endif
#ifdef EARLY
#define BY(h)     (BYWAY(h) || proc[h] == HANDED)
#define UNAWAITED(h) (true)
#else
#define BY(h)     (BYWAY(h))
#define UNAWAITED(h) (waits[h] == 0)
#endif
#define LEFT(h)   :: d_step { ACTS(h) && MINE(h) && exec[h] >= G(h) && PROVEN(h) && BY(h) && UNAWAITED(h) && !(M(h) == way[h] && rmoved[M(h)]) && !(M(h) != way[h] && rrel[G(h)]) -> \
	if :: M(h) == way[h] -> rmoved[M(h)] = 1; rgen[M(h)] = G(h); printf("host %d: it has left by move %d\n", h, M(h)) :: else -> rrel[G(h)] = 1; printf("host %d: it has left, by a move that was called off\n", h) fi }

/* ---- a host that does not own it ---- */
#define FOREIGN(h)  :: d_step { ACTS(h) && !MINE(h) && (proc[h] == RUNS || proc[h] == HANDED) -> end_proc(h); printf("host %d ends what is another's\n", h) }
#define LEFTOVER(h) :: d_step { ACTS(h) && !MINE(h) && WAITS(h) && !COMES(h) -> end_proc(h); printf("host %d ends a copy that waits for nothing\n", h) }
#define OVER(h)     :: d_step { !HELD(h) && WAITS(h) -> end_proc(h) }

/* ---- the hypervisors: migration from h ---- */
#define OPEN(h)   :: d_step { waits[h] != 0 && !mig[h] && left_[h] == 0 && proc[h] == RUNS && proc[dest[h]] == NONE && ACTS(dest[h]) && M(dest[h]) == waits[h] && COMES(dest[h]) -> \
	mig[h] = 1; migmove[h] = waits[h]; left_[h] = 0; proc[dest[h]] = COPY; bymove[dest[h]] = 0; printf("host %d: a copy arrives from host %d\n", dest[h], h) }
#ifdef NO_PAUSE                 /* it runs as soon as it is whole */
#define ARRIVED RUNS
#else
#define ARRIVED WHOLE
#endif
#define SWITCH(h) :: d_step { mig[h] && proc[h] == RUNS && proc[dest[h]] == COPY -> proc[h] = HANDED; proc[dest[h]] = ARRIVED; latest = dest[h]; printf("host %d: stopped; the copy on host %d is whole\n", h, dest[h]); one() }
#define QUIT(h)   :: d_step { mig[h] && proc[h] == HANDED -> proc[h] = NONE; bymove[h] = 1; mig[h] = 0; migmove[h] = 0; if :: waits[h] == 0 -> dest[h] = 0 :: else fi; printf("host %d: its process is gone\n", h) }
#define BACK(h)   :: d_step { mig[h] && proc[h] == HANDED -> proc[h] = RUNS; latest = NOBODY; lose(h); printf("host %d: it goes on here: it RUNS\n", h); one() }
#define BREAK(h)  :: d_step { mig[h] && proc[h] == RUNS -> lose(h); printf("host %d: the migration broke\n", h) }
/* Migrate returns: what is known, or that nothing is */
#define RETURN(h) :: d_step { waits[h] != 0 && !mig[h] -> \
	if :: proc[h] == NONE && bymove[h] -> left_[h] = waits[h]; gone[h] = 1 :: proc[h] == RUNS -> left_[h] = waits[h]; gone[h] = 0 :: true fi; waits[h] = 0; dest[h] = 0 } \
	:: d_step { waits[h] != 0 && mig[h] -> waits[h] = 0; printf("host %d: nobody knows what becomes of the migration\n", h) }
#define EXIT(h)   :: d_step { proc[h] == RUNS -> end_proc(h); printf("host %d: the VM ends\n", h) }

/* ---- death and restart ---- */
#ifdef UNCOVER                  /* the guard lets go of what leaves */
#define KILLED(h) ((proc[h] == RUNS || proc[h] == HANDED) && !mig[h])
#else
#define KILLED(h) (proc[h] == RUNS || proc[h] == HANDED)
#endif
#define LEASE_END(h) :: d_step { lease[h] -> lease[h] = 0; if :: KILLED(h) -> end_proc(h) :: else fi; printf("host %d: its lease has ended\n", h) }
#define POWER(h)     :: d_step { lease[h] -> lease[h] = 0; end_proc(h); waits[h] = 0; printf("host %d: power off\n", h) }
#define RESTART(h)   :: d_step { restarts > 0 && lease[h] -> restarts--; waits[h] = 0; left_[h] = 0; gone[h] = 0; trust[h] = 0; if :: copy[h] = 0 :: true fi; if :: !mig[h] -> dest[h] = 0 :: else fi; \
	printf("host %d: the agent is restarted\n", h) }

#if NH == 2
#define HOSTS(A) A(0) A(1)
#else
#define HOSTS(A) A(0) A(1) A(2)
#endif
#if MMAX == 1
#define MOVES(A) A(1)
#else
#define MOVES(A) A(1) A(2)
#endif
#define GENS(A) A(2) A(3) A(4)
#define BEGINS(t) BEGIN(t,0)
#if COLDS
#define CHILLS(t) BEGIN(t,1)
#else
#define CHILLS(t)
#endif

active proctype world() {
	d_step {
		owner[0] = 0; gen[0] = 1; phase[0] = 1; exec[0] = 1; proc[0] = RUNS; let_[1] = 1;
		trust[0] = 1; trust[1] = 1;
#if NH == 3
		trust[2] = 1
#endif
	};
end:	do
	HOSTS(BEGINS) HOSTS(CHILLS) ENDMOVE HOSTS(ASSIGN) HOSTS(DIES)
	RUNNING(1) RELEASED(1) GENS(RUNNING) GENS(RELEASED) MOVES(MOVED) MOVES(FAILED)
	HOSTS(APPLY) HOSTS(ANSWER)
	HOSTS(START) HOSTS(TAKE) HOSTS(SAY_RUNS) HOSTS(ADOPT) HOSTS(GONE)
	HOSTS(DEPART) HOSTS(STOP) HOSTS(ABORT) HOSTS(FAIL) HOSTS(FORGET) HOSTS(LEFT)
	HOSTS(FOREIGN) HOSTS(LEFTOVER) HOSTS(OVER)
	HOSTS(OPEN) HOSTS(SWITCH) HOSTS(QUIT) HOSTS(BACK) HOSTS(BREAK) HOSTS(RETURN) HOSTS(EXIT)
	HOSTS(LEASE_END) HOSTS(POWER) HOSTS(RESTART)
#ifdef REACH
	:: d_step { proc[1] == RUNS && exec[1] > 1 && phase[ver] && from[ver] && !chill[ver] && owner[ver] == 1 -> assert(false) }
#endif
	od
}
