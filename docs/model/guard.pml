/* guard.pml: the guard and the agent over their shared memory, load by load and store by store.
 *
 * What is modelled, and the code beside it
 *   the guard's look: beat, deadline, tripped, the pass over the entries          fencing/guard.go: look
 *   Begin, Extend, Cover, Uncover                                                 fencing/shared.go
 *   the agent around them: renewals, a start with its two looks at the lease, the
 *     end of a life with its proof, the next life; killed and restarted between
 *     any two of its steps, frozen anywhere for any time                          cluster/host
 *   one VM: its process is created paused, resumed, killed
 *
 * What must hold: once the last permission that a master gave (sent + L) has been over for GRACE
 * ticks, the VM does not run; and when the agent asks for a new life, it does not either.
 *
 * Assumption: the guard is scheduled. In each tick it begins and ends a look. Nothing is assumed of
 * the agent.
 *
 * Abstractions, and why they lose no counterexample
 *   One VM and one entry: entries are independent; the guard's pass over others is a delay.
 *   Memory is sequentially consistent, as Go promises for sync/atomic. -DTSO puts the store of the
 *     process into a store buffer, as plain stores on x86 are: the argument in Cover then fails.
 *   A process number is never used twice (the code compares start times).
 *   SIGKILL is the end of the process: how long it takes is in the hard end.
 *
 * Bounds: TEND ticks, LIVES incarnations, CRASHES of the agent.
 */
#ifndef L
#define L 3
#endif
#define MARGIN 1
#define GRACE 1
#ifndef TEND
#define TEND 8
#endif
#ifndef LIVES
#define LIVES 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif

byte now = 1;
byte soft = 1+L;                /* the end of the last permission given */

/* the shared memory */
byte life = 1, deadline = 1+L, tripped, entry;
#ifdef TSO
byte buffer;                    /* a process that is stored and not yet seen by others */
#define DRAINED (buffer == 0)   /* it drains within a tick */
#else
#define DRAINED true
#endif

/* the VM */
#define NONE 0
#define PAUSED 1
#define RUNS 2
byte vm, number;                /* its process; numbers count up */

bit  looked;                    /* the guard has begun and ended a look in this tick */
byte crashes = CRASHES;
bit  crash;

inline end_vm()   { vm = NONE }

active proctype clock() {
end:	do
	:: d_step { looked && now < TEND && DRAINED -> now++; looked = 0;
		printf("-- %d: soft end %d\n", now, soft);
		assert(vm != RUNS || now < soft + GRACE) }
	od
}

active proctype guard() {
	byte n, d, p;
end:	do
	:: atomic { !looked -> n = now };
	   d = deadline;
	   if
	   :: d == 0 || n < d -> skip
	   :: else ->
#ifndef TRIP_AFTER
		d_step { if :: tripped == 0 -> tripped = n; printf("guard: acts\n") :: else fi };
#endif
		p = entry;
		if
		:: p != 0 ->
			d_step { if :: vm != NONE && number == p -> end_vm(); printf("guard: kills\n") :: else fi };
			d_step { if :: entry == p -> entry = 0 :: else fi }
		:: else
		fi;
#ifdef TRIP_AFTER
		d_step { if :: tripped == 0 -> tripped = n :: else fi };
#endif
	   fi;
	   d_step { looked = 1; n = 0; d = 0; p = 0 }
	od
}

#ifdef TSO
active proctype bus() {
end:	do
	:: d_step { buffer != 0 -> entry = buffer; buffer = 0 }
	od
}
#define STORE(p) buffer = p
#define CLEAR    d_step { entry = 0; buffer = 0 }
#else
#define STORE(p) entry = p
#define CLEAR    entry = 0
#endif

active proctype reaper() {
end:	do
	:: d_step { crashes > 0 && !crash -> crashes--; crash = 1 }
	od
}

/* a look at the lease in the guard's memory: ok says that a start may go on */
inline look_at_lease() {
	ok = (life == mylife);
	ok = ok && (tripped == 0);
	d = deadline;
	ok = ok && (now + MARGIN <= d)
}
inline cover() {
#ifdef NO_CHECK
	STORE(number); ok = 1
#elif defined(CHECK_FIRST)
	ok = (tripped == 0);
	STORE(number)
#else
	STORE(number);
	ok = (tripped == 0)
#endif
}

#ifdef NO_PROOF
#define GONE true
#else
#define GONE vm == NONE
#endif

active proctype agent() {
	bit ok, known, done, over;
	byte end_, n, d, sent, mylife;
again:	{
	/* New: take up what the guard holds, or begin a new life */
	atomic { mylife = life; end_ = deadline; over = (tripped != 0 || now >= deadline); done = 0; known = 0; ok = 0; n = 0; d = 0; sent = 0 };
	do
	/* an acknowledgement: the heartbeat was sent some time ago */
	:: !over && !done ->
		atomic { n = now; if :: n > 1 -> if :: sent = n - 1 :: sent = n fi :: else -> sent = n fi;
			if :: n < end_ && sent + L > end_ -> soft = sent + L; ok = 1; printf("agent: acknowledged until %d\n", sent + L) :: else -> ok = 0 fi };
		if
		:: ok ->                                        /* Extend */
			ok = (life == mylife && tripped == 0);
			if
			:: ok ->
				d = deadline;
				d_step { if :: d != 0 && sent + L > d && deadline == d -> deadline = sent + L :: else fi };
				ok = (tripped == 0);
				if :: ok -> end_ = sent + L :: else fi
			:: else
			fi
		:: else
		fi;
		atomic { ok = 0; n = 0; d = 0; sent = 0 }
	/* an order */
	:: !over && !done && vm == NONE && now < end_ ->
		look_at_lease();
		if
		:: ok ->
			atomic { number++; vm = PAUSED; printf("agent: created\n") };
#ifdef RESUME_FIRST
			d_step { if :: vm == PAUSED -> vm = RUNS :: else fi };
#endif
			cover();
#ifndef NO_LOOK
			if :: ok -> look_at_lease() :: else fi;
#endif
			if
			:: ok -> d_step { if :: vm == PAUSED -> vm = RUNS; printf("agent: resumed\n") :: else fi }
			:: else -> end_vm(); CLEAR
			fi
		:: else
		fi;
		atomic { ok = 0; d = 0; done = 1 }              /* one start in each run of the agent and each life */
	/* a restarted agent covers what runs */
	:: !over && vm != NONE && entry != number && !known ->
		cover(); known = 1;
		if :: !ok -> end_vm(); CLEAR :: else fi; ok = 0
	/* the person's wish to stop it, or the end of the lease on the agent's own clock */
	:: !over && vm != NONE && done ->
#ifdef UNCOVER_FIRST
		CLEAR; end_vm()
#else
		end_vm(); CLEAR
#endif
	:: !over && (now >= end_ || tripped != 0) -> over = 1
	:: over && vm != NONE ->
#ifdef UNCOVER_FIRST
		CLEAR; end_vm()
#else
		end_vm(); CLEAR
#endif
	/* the next life: nothing runs; the lease begins with the first acknowledgement */
	:: over && life < LIVES && GONE ->
		atomic { assert(vm != RUNS); mylife = life + 1; n = now; if :: n > 1 -> if :: sent = n - 1 :: sent = n fi :: else -> sent = n fi; soft = sent + L; printf("agent: a new life, acknowledged until %d\n", soft) };
		if
		:: now < sent + L ->                            /* Begin */
#ifdef BEGIN_PLAIN
			life = mylife; tripped = 0; deadline = sent + L; CLEAR;
#else
			deadline = 0; CLEAR; life = mylife; tripped = 0; deadline = sent + L;
#endif
			atomic { end_ = sent + L; over = 0; done = 0; known = 0 }
		:: else
		fi;
		atomic { n = 0; sent = 0 }
	od
	} unless { atomic { crash -> crash = 0; printf("agent: restarted\n") } };
	goto again
}
