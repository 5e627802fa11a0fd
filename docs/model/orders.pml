/* orders.pml: placements, generations and incarnations; starting a VM; giving it back.
 *
 * What is modelled, and the code beside it
 *   one protected VM and NH hosts
 *   the state machine: Assign, Report, DeclareDead, BeginIncarnation              fsm/apply.go
 *   each host's copy of the state, which lags by any amount and goes back to an
 *     old one when the agent is restarted, until it can be trusted               cluster/host: gather
 *   what a host does about the VM by its copy, its record and its list            cluster/host: Decide
 *   a start: record saved, created paused, covered by the guard, the lease
 *     looked at again, resumed; and its undoing                                   cluster/host/jobs.go
 *   a report that is on its way for any time, a request for a new incarnation
 *     that is committed at any later time, answered or not, and asked again       cluster/host: begin
 *   the agent restarted and the machine rebooted between any two steps            cluster/host: New
 *
 * What must hold: the VM's processors run on one host at most (S1); where they run
 * the guard covers the process.
 *
 * What is taken from the other models
 *   (lease_n) A host is declared dead only when its lease has ended, and that lease does not come back.
 *   (guard) At the end of a lease what is covered is gone, and nothing can be covered any more.
 *
 * Abstractions, and why they lose no counterexample
 *   A VM has at most one placement, so the history of who owned it is its generations: version
 *     2g-1 of the state is "generation g is placed", version 2g is "it is not any more".
 *   The host's list is one reading of its processes, used at any later time. A listing that must be
 *     newer than a job (settle) is a list that the job's end has thrown away.
 *   A domain that is being created is in no list, survives its agent, and appears, paused, at any
 *     later time or never. So does a resume that was asked for.
 *   A report that is on its way is never lost: a late one is the worse case.
 *   The incarnation that a request names (previous) is any that the host's copy may show.
 *   The margin of the lease for a start only refuses: left out.
 *   Persons are not in this model: see sighting.pml.
 *
 * Bounds: NH hosts, GMAX generations, IMAX incarnations of a host, RESTARTS of agents, REBOOTS. Only
 *   host 0 is restarted, rebooted and begins new lives, unless -DALL: hosts are alike.
 */
#ifndef NH
#define NH 2
#endif
#ifndef GMAX
#define GMAX 3
#endif
#ifndef IMAX
#define IMAX 2
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif
#ifndef REBOOTS
#define REBOOTS 1
#endif

/* ---- the replicated state ---- */
byte ver;                               /* 2g-1: generation g is placed; 2g: it is not any more */
byte ph[GMAX+1], pi[GMAX+1];            /* where each generation was placed */
byte finc[NH] = 1;
bit  fdead[NH];
#define GEN(v)      (((v)+1)/2)
#define PLACED(v)   ((v)%2 == 1)
#define OWNS(h,i)   (PLACED(ver) && ph[GEN(ver)] == (h) && pi[GEN(ver)] == (i))

/* ---- each host: what is on disk, what is in the guard's memory, what the agent knows ---- */
byte inc[NH] = 1, exec[NH];             /* record: incarnation, highest generation executed */
bit  over[NH];                          /* record: this life has ended */
bit  lease[NH] = 1, cov[NH];            /* the guard holds the lease; it covers the process */
byte copy[NH], trust[NH];               /* version of the copy; from which version + 1 it is trusted, 0: from none */
#define UNSEEN 0
#define STOPPED 1
#define THERE 2
byte list[NH];
#define IDLE 0
#define SAVED 1
#define CREATING 2
#define COVERED 3
#define RESUMING 4
#define UNDOING 5
#define KILLING 6
#define FINISHING 7
byte job[NH];
bit  failed[NH];                        /* the start of generation exec failed */
byte asked[NH];                         /* the previous incarnation in the request that is waited for; 0: none */
byte asks[NH];                          /* set of those in requests that are on their way */

/* ---- the hypervisor ---- */
#define NONE 0
#define PENDING 1
#define PAUSED 2
#define RUNS 3
byte proc[NH];
bit  resume[NH];                        /* asked for, not done */

bit  rel[GMAX+1];                       /* a report that generation g is given back is on its way */
byte restarts = RESTARTS, reboots = REBOOTS;

#define HELD(h)     (lease[h] && !over[h])
#define TRUSTED(h)  (trust[h] != 0 && copy[h]+1 >= trust[h])
#define SHOWN(h)    GEN(copy[h])
#ifdef NO_INCARNATION
#define MINE(h)     (PLACED(copy[h]) && ph[SHOWN(h)] == (h))
#else
#define MINE(h)     (PLACED(copy[h]) && ph[SHOWN(h)] == (h) && pi[SHOWN(h)] == inc[h])
#endif
#define ACTS(h)     (HELD(h) && TRUSTED(h) && job[h] == IDLE)
#ifdef FORGET_LIST                      /* a list from before a job is still believed */
#define ENDED(h)
#else
#define ENDED(h)    list[h] = UNSEEN;
#endif

#ifdef LATE_RESUME                      /* a resume that nobody waits for meets a later process of the VM */
#define RESUMABLE(h) (true)
#define FORGET_RESUME(h)
#else
#define RESUMABLE(h) (proc[h] == PAUSED)
#define FORGET_RESUME(h) resume[h] = 0;
#endif

inline one() {
#if NH == 2
	assert((proc[0] == RUNS) + (proc[1] == RUNS) <= 1);
	assert((proc[0] != RUNS || cov[0]) && (proc[1] != RUNS || cov[1]))
#else
	assert((proc[0] == RUNS) + (proc[1] == RUNS) + (proc[2] == RUNS) <= 1);
	assert((proc[0] != RUNS || cov[0]) && (proc[1] != RUNS || cov[1]) && (proc[2] != RUNS || cov[2]))
#endif
}
inline gone(h) { if :: proc[h] != PENDING -> proc[h] = NONE; FORGET_RESUME(h) skip :: else fi }

/* ---- master and state machine ---- */
#ifdef NO_OWNER_CHECK                   /* placed again while somebody owns it */
#define MAY_PLACE (ver < 2*GMAX-1)
#define BEFORE_PLACING if :: PLACED(ver) -> ver++ :: else fi;
#else
#define MAY_PLACE (!PLACED(ver) && ver < 2*GMAX-1)
#define BEFORE_PLACING
#endif
#define ASSIGN(h) :: d_step { MAY_PLACE && !fdead[h] -> BEFORE_PLACING ver++; ph[GEN(ver)] = h; pi[GEN(ver)] = finc[h]; \
	printf("state: generation %d is placed on host %d, incarnation %d\n", GEN(ver), h, finc[h]) }
#define RELEASED(g) :: d_step { rel[g] && ver == 2*(g)-1 && pi[g] == finc[ph[g]] && !fdead[ph[g]] -> ver++; printf("state: generation %d is given back\n", g) }
#define DECLARE_DEAD(h) :: d_step { !fdead[h] && (!lease[h] || inc[h] != finc[h]) -> fdead[h] = 1; \
	if :: OWNS(h,finc[h]) -> ver++ :: else fi; printf("state: host %d, incarnation %d, is dead\n", h, finc[h]) }
#ifdef NO_PREVIOUS                      /* a request is no compare-and-set */
#define NEXT_OF(h,p) (true)
#else
#define NEXT_OF(h,p) (finc[h] == (p))
#endif
#define BEGIN(h,p) :: d_step { (asks[h] & (1<<(p))) && NEXT_OF(h,p) && finc[h] < IMAX -> \
	if :: OWNS(h,finc[h]) -> ver++ :: else fi; finc[h]++; fdead[h] = 0; \
	printf("state: host %d begins incarnation %d\n", h, finc[h]); \
	if :: asked[h] == (p) -> asked[h] = 0; inc[h] = finc[h]; over[h] = 0; exec[h] = 0; failed[h] = 0; printf("host %d takes it up\n", h) \
	   :: asked[h] == (p) -> asked[h] = 0; printf("the answer does not reach host %d\n", h) \
	   :: asked[h] != (p) fi }

/* ---- the host's knowledge ---- */
#define APPLY(h) :: d_step { copy[h] < ver -> copy[h]++ }
#define ANSWER(h) :: d_step { trust[h] == 0 -> trust[h] = ver+1; printf("host %d has the first answer of a master\n", h) }
#define LIST(h) :: d_step { job[h] == IDLE -> if :: proc[h] == PAUSED || proc[h] == RUNS -> list[h] = THERE :: else -> list[h] = STOPPED fi }

/* ---- Decide ---- */
#ifdef NO_GENERATION
#define NEW(h) (true)
#else
#define NEW(h) (exec[h] < SHOWN(h))
#endif
#define RAISE(h) :: d_step { ACTS(h) && list[h] == THERE && MINE(h) && exec[h] < SHOWN(h) -> exec[h] = SHOWN(h); failed[h] = 0 }
#define COVER(h) :: d_step { ACTS(h) && list[h] == THERE && !cov[h] && (proc[h] == PAUSED || proc[h] == RUNS) -> cov[h] = 1 }
#define FOREIGN(h) (PLACED(copy[h]) && !MINE(h))
#define KILL(h)  :: d_step { (ACTS(h) && list[h] == THERE && FOREIGN(h)) || (!HELD(h) && job[h] == IDLE && list[h] != STOPPED) -> job[h] = KILLING }
/* created for an order and never let run, by an agent before this one */
#define HALF(h) (ACTS(h) && list[h] == THERE && MINE(h) && proc[h] == PAUSED && cov[h] && exec[h] >= SHOWN(h) && !failed[h])
#ifdef NO_END                           /* it is left as it is */
#define CUT(h)
#elif defined(FINISH)                   /* it is let run */
#define CUT(h) :: d_step { HALF(h) -> job[h] = FINISHING; printf("host %d finishes the start of generation %d\n", h, SHOWN(h)) }
#else
#define CUT(h) :: d_step { HALF(h) -> job[h] = KILLING; printf("host %d ends what is left of a start\n", h) }
#endif
#define START(h) :: d_step { ACTS(h) && list[h] == STOPPED && MINE(h) && NEW(h) && !failed[h] -> exec[h] = SHOWN(h); job[h] = SAVED; \
	printf("host %d saves generation %d and starts it\n", h, SHOWN(h)) }
#ifdef EARLY_REPORT                     /* while a start may be under way */
#define QUIET(h) (HELD(h) && TRUSTED(h))
#else
#define QUIET(h) (ACTS(h) && list[h] == STOPPED)
#endif
#ifdef NO_RAISE                         /* given back without noting so */
#define REACHED(h) (true)
#else
#define REACHED(h) (exec[h] >= SHOWN(h))
#endif
#define REPORT(h) :: d_step { QUIET(h) && MINE(h) && REACHED(h) && !rel[SHOWN(h)] -> rel[SHOWN(h)] = 1; printf("host %d reports that generation %d is given back\n", h, SHOWN(h)) }

/* ---- a start ---- */
#ifdef NO_SECOND_LOOK
#define STILL(h) (true)
#else
#define STILL(h) (HELD(h))
#endif
#ifdef NO_COVER_CHECK                   /* that the guard has acted is not noticed */
#define COVERABLE(h) (true)
#else
#define COVERABLE(h) (HELD(h))
#endif
#define FAIL(h) job[h] = IDLE; failed[h] = 1; ENDED(h)
#define CREATE(h) :: d_step { job[h] == SAVED -> if :: HELD(h) && proc[h] == NONE -> proc[h] = PENDING; job[h] = CREATING \
	:: HELD(h) && proc[h] != NONE -> job[h] = IDLE; ENDED(h) :: !HELD(h) -> FAIL(h) fi }
#define GUARD(h)  :: d_step { job[h] == CREATING && proc[h] == PAUSED -> if :: COVERABLE(h) -> cov[h] = HELD(h); job[h] = COVERED :: else -> job[h] = UNDOING fi }
#define RESUME(h) :: d_step { job[h] == COVERED -> if :: STILL(h) && RESUMABLE(h) -> resume[h] = 1; job[h] = RESUMING :: else -> job[h] = UNDOING fi }
#define DONE(h)   :: d_step { job[h] == RESUMING && proc[h] == RUNS -> job[h] = IDLE; ENDED(h) }
#define FINISHED(h) :: d_step { job[h] == FINISHING -> if :: STILL(h) && RESUMABLE(h) -> resume[h] = 1 :: else fi; job[h] = IDLE; ENDED(h) }
#define GIVE_UP(h) :: d_step { job[h] == CREATING || job[h] == RESUMING -> job[h] = UNDOING }
#define UNDO(h)   :: d_step { job[h] == UNDOING && proc[h] != PENDING -> gone(h); cov[h] = 0; FAIL(h) }
#define KILLED(h) :: d_step { job[h] == KILLING -> gone(h); cov[h] = 0; job[h] = IDLE; ENDED(h) printf("host %d: nothing is left\n", h) }

/* ---- the hypervisor ---- */
#define CREATED(h) :: d_step { proc[h] == PENDING -> proc[h] = PAUSED; printf("host %d: created, paused\n", h) }
#define NOT_CREATED(h) :: d_step { proc[h] == PENDING -> proc[h] = NONE }
#define RESUMED(h) :: d_step { proc[h] == PAUSED && resume[h] -> proc[h] = RUNS; resume[h] = 0; printf("host %d: the VM RUNS\n", h); one() }
#define EXIT(h)    :: d_step { proc[h] == RUNS -> proc[h] = NONE; printf("host %d: the VM ends\n", h) }

/* ---- the lease, its end, the next life ---- */
#define LEASE(h)     :: d_step { !lease[h] && !over[h] && inc[h] == finc[h] && !fdead[h] -> lease[h] = 1; cov[h] = 0; printf("host %d: the lease of incarnation %d begins\n", h, inc[h]) }
#define LEASE_END(h) :: d_step { lease[h] -> lease[h] = 0; over[h] = 1; if :: cov[h] -> gone(h); cov[h] = 0 :: else fi; printf("host %d: the lease has ended\n", h) }
#ifdef NO_PROOF
#define PROVEN(h) (true)
#else
#define PROVEN(h) (job[h] == IDLE && list[h] == STOPPED)
#endif
#define ASK(h,p) :: d_step { over[h] && !lease[h] && TRUSTED(h) && PROVEN(h) && asked[h] == 0 && (p) >= inc[h] && (p) <= finc[h] && (p) < IMAX -> asked[h] = p; asks[h] = asks[h] | (1<<(p)); \
	printf("host %d asks for the life after incarnation %d\n", h, p) }
#define TIRED(h) :: d_step { asked[h] != 0 -> asked[h] = 0 }

/* ---- restarts ---- */
inline newrun(h) { job[h] = IDLE; failed[h] = 0; list[h] = UNSEEN; trust[h] = 0; asked[h] = 0; if :: copy[h] = 0 :: true fi }
#ifdef FORGET
#define LOST_RECORD(h) exec[h] = 0;
#else
#define LOST_RECORD(h)
#endif
#define RESTART(h) :: d_step { restarts > 0 -> restarts--; newrun(h); LOST_RECORD(h) if :: !lease[h] -> over[h] = 1 :: else fi; printf("host %d: the agent is restarted\n", h) }
#define REBOOT(h)  :: d_step { reboots > 0 -> reboots--; newrun(h); proc[h] = NONE; resume[h] = 0; cov[h] = 0; lease[h] = 0; over[h] = 1; printf("host %d is rebooted\n", h) }

/* ---- a VM that is owned, created and never resumed, on a host that has nothing left to do ---- */
#ifdef STUCK
#ifdef NO_END
#define TAKEN_UP(h) (false)
#else
#define TAKEN_UP(h) (HALF(h))
#endif
#define FORGOTTEN(h) :: d_step { ACTS(h) && copy[h] == ver && list[h] == THERE && cov[h] && proc[h] == PAUSED && !resume[h] && MINE(h) && exec[h] >= SHOWN(h) && !TAKEN_UP(h) -> \
	printf("host %d owns a VM that is paused, and will do nothing about it\n", h); assert(false) }
#else
#define FORGOTTEN(h)
#endif

#if NH == 2
#define HOSTS(A) A(0) A(1)
#else
#define HOSTS(A) A(0) A(1) A(2)
#endif
#ifdef ALL
#define SOME(A) HOSTS(A)
#else
#define SOME(A) A(0)
#endif
#if GMAX == 2
#define GENS(A) A(1) A(2)
#elif GMAX == 3
#define GENS(A) A(1) A(2) A(3)
#else
#define GENS(A) A(1) A(2) A(3) A(4)
#endif
#if IMAX == 2
#define ASKS(h) ASK(h,1)
#define BEGINS(h) BEGIN(h,1)
#else
#define ASKS(h) ASK(h,1) ASK(h,2)
#define BEGINS(h) BEGIN(h,1) BEGIN(h,2)
#endif

active proctype world() {
	byte i;
	d_step { i = 0; do :: i < NH -> trust[i] = 1; i++ :: else -> break od; i = 0 };
end:	do
	HOSTS(ASSIGN) GENS(RELEASED) HOSTS(DECLARE_DEAD)
	HOSTS(APPLY) SOME(ANSWER) HOSTS(LIST)
	HOSTS(RAISE) HOSTS(COVER) HOSTS(KILL) HOSTS(START) HOSTS(CUT) HOSTS(FINISHED) HOSTS(REPORT)
	HOSTS(CREATE) HOSTS(GUARD) HOSTS(RESUME) HOSTS(DONE) HOSTS(GIVE_UP) HOSTS(UNDO) HOSTS(KILLED)
	HOSTS(CREATED) HOSTS(NOT_CREATED) HOSTS(RESUMED) HOSTS(EXIT)
	HOSTS(LEASE_END) SOME(LEASE) SOME(ASKS) SOME(TIRED) SOME(BEGINS) SOME(RESTART) SOME(REBOOT)
	HOSTS(FORGOTTEN)
	od
}
