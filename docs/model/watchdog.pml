/* watchdog.pml: which hosts the wait alone declares dead, and what a host says of its watchdog.
 *
 * What is modelled, and the code beside it
 *   host 0 gets a watchdog and loses it, numbers and saves what it says of that,
 *     says it in every heartbeat, and renews its lease or not (W5)               cluster/host/watchdog.go, heartbeat.go
 *   the master has it committed, late or never; offices change                   cluster/master/watchdog.go
 *   the state machine: NoteWatchdog, BeginIncarnation                            fsm/watchdog.go, apply.go
 *   the death by the clock, of hosts that a watchdog resets alone (R9)           cluster/master/decide.go
 *   the guard ends the VM with the lease; a kernel that hangs ends nothing, and
 *     the VM runs on until the watchdog, where there is one, resets the host     fencing
 *   the agent restarted between any two steps; new lives
 *
 * What must hold: when the death is committed the VM does not run.
 *
 * What is taken from another model
 *   (lease_n) No death by the clock before D after the last acknowledgement and after the office
 *     began, and none of an office that was overtaken; clocks that differ.
 *
 * Assumption: a kernel does not hang in the same lease in which its host has lost the watchdog, and
 * a watchdog is not lost while the kernel hangs. -DAT_ONCE drops the first: nobody could know in time.
 *
 * Abstractions, and why they lose no counterexample
 *   The VM runs whenever a lease is held, and ends with the guard's turn at the lease's end: there
 *     is nothing else that the watchdog or the guard are for.
 *   One heartbeat under way, worth less with each tick. The suspicion only refuses: left out, so
 *     whatever comes before the death is acknowledged, or not.
 *   The proposal and the commit of the death are one step: after the proposal nothing is acknowledged.
 *   A note that is proposed is committed at any later time or never, also when its office is over:
 *     its epoch would refuse it then.
 *   What the host reads of the state is a copy that lags by any amount, within a life.
 *
 * Bounds: WORDS words in a life, LIVES lives, a lease of L ticks, a reset WD ticks after its end,
 *   NOTES proposals under way, RESTARTS of the agent.
 */
#ifndef L
#define L 2
#endif
#ifndef WD
#define WD 1
#endif
#ifndef WORDS
#define WORDS 3
#endif
#ifndef LIVES
#define LIVES 2
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif
#define NOTES 2
#define D (L+WD)

/* host 0 */
byte life = 1, lease = L;
bit  vm = 1, hangs, dog;
#ifdef REACH
bit  hung;              /* its kernel has hung in this life */
#define HUNG hung = 1;
#define BOOTED hung = 0;
#else
#define HUNG
#define BOOTED
#endif
byte fresh;             /* ticks of the lease in which the watchdog was lost */
byte reset;             /* ticks until the watchdog resets a host that hangs, from the end of its lease */
byte word, copy;        /* the record: the number of its last word; the word that its copy of the state has */
bit  said;              /* the record: that word says that there is a watchdog */
bit  mem;               /* the agent's memory is ahead of the record (-DSAY_FIRST) */
byte restarts = RESTARTS;

/* its heartbeat */
#define FREE 0
#define SENT 1
#define ACKED 2
byte hb, worth, hword, hlife;
bit  hsaid;

/* the office */
byte left_ = D, oword;
bit  osaid;

/* proposals of NoteWatchdog */
bit  psaid[NOTES];
byte pword[NOTES], plife[NOTES];        /* word 0: none */

/* the state */
byte slife = 1, sword;
bit  ssaid, dead;

inline down(x) { if :: x > 0 -> x-- :: else fi }
inline forget() { hb = FREE; worth = 0; hword = 0; hlife = 0; hsaid = 0 }
inline drop(i) { pword[i] = 0; psaid[i] = 0; plife[i] = 0 }

#ifdef NO_W5
#define BOUNDED (true)
#elif defined(OWN_WORD)                 /* enough to have said it */
#define BOUNDED (word == 0 || dog || !said)
#else
#define BOUNDED (word == 0 || dog || (!said && copy >= word))
#endif
#ifdef NO_R9
#define OUTLASTED (true)
#elif defined(NO_PEEK)                  /* a word that is not committed does not count */
#define OUTLASTED (ssaid)
#else
#define OUTLASTED (ssaid && !(oword > sword && !osaid))
#endif
#ifdef AT_ONCE
#define MAY_HANG (true)
#else
#define MAY_HANG (dog || fresh == 0)
#endif
#ifdef ANY_ORDER
#define NEWER(i) (true)
#else
#define NEWER(i) (pword[i] > sword)
#endif
#ifdef ANY_LIFE
#define ITS_LIFE(i) (true)
#else
#define ITS_LIFE(i) (plife[i] == slife)
#endif
#ifdef KEEP_WORD
#define NEW_LIFE
#else
#define NEW_LIFE sword = 0; ssaid = 0;
#endif
#ifdef SAY_FIRST                        /* said, and saved later */
#define SAVED mem = 1;
#define SAVE :: d_step { mem && !hangs -> mem = 0 }
#define LOSE_MEMORY if :: mem -> mem = 0; word = 0; said = 0 :: else fi;
#else
#define SAVED
#define SAVE
#define LOSE_MEMORY
#endif

#define PROPOSE(i) :: d_step { oword > sword && pword[i] == 0 && !dead -> pword[i] = oword; psaid[i] = osaid; plife[i] = slife; printf("master: proposes word %d\n", oword) }
#define COMMIT(i)  :: d_step { pword[i] != 0 -> if :: ITS_LIFE(i) && NEWER(i) && !dead -> sword = pword[i]; ssaid = psaid[i]; printf("state: word %d, watchdog %d\n", sword, ssaid) :: else fi; drop(i) }

active proctype world() {
end:	do
	/* ---- time ---- */
	:: atomic { lease > 0 || left_ > 0 || fresh > 0 || reset > 0 || worth > 0 ->
		d_step {
			if
			:: lease == 0 && reset > 0 -> reset--;
				if :: reset == 0 && vm -> vm = 0; hangs = 0; printf("host: the watchdog resets it\n") :: else fi
			:: else
			fi;
			if
			:: lease == 1 && !hangs -> vm = 0; printf("guard: the lease has ended, the VM with it\n")
			:: lease == 1 && hangs && dog -> reset = WD
			:: else
			fi;
			down(lease); down(left_); down(fresh); down(worth);
			if :: worth == 0 -> forget() :: else fi;
			printf("-- tick: lease %d, the master waits %d\n", lease, left_) } }
	/* ---- the watchdog and the kernel ---- */
	:: d_step { !dog && !hangs && lease > 0 -> dog = 1; printf("host: has a watchdog\n") }
	:: d_step { dog && !hangs -> dog = 0; fresh = L; printf("host: has lost its watchdog\n") }
	:: d_step { !hangs && vm && lease > 0 && MAY_HANG -> hangs = 1; HUNG printf("host: its kernel hangs, the VM runs\n") }
	/* ---- the host ---- */
	:: d_step { !hangs && lease > 0 && word < WORDS && (word == 0 && dog || word > 0 && said != dog) -> word++; said = dog; SAVED printf("host: word %d, watchdog %d\n", word, said) }
	SAVE
	:: d_step { !hangs && lease > 0 && hb == FREE -> hb = SENT; worth = L; hword = word; hsaid = said; hlife = life; printf("host: heartbeat with word %d\n", word) }
	:: d_step { !hangs && hb == ACKED && lease > 0 && worth > lease && BOUNDED -> lease = worth; forget(); printf("host: its lease is renewed: %d ticks\n", lease) }
	:: d_step { hb != FREE -> forget() }
	:: d_step { !hangs && copy < sword && life == slife -> copy = sword }
	:: d_step { !hangs && restarts > 0 -> restarts--; LOSE_MEMORY printf("host: the agent is restarted\n") }
	:: d_step { !hangs && lease == 0 && !vm && life < LIVES && life == slife -> life++; slife++; dead = 0; BOOTED NEW_LIFE word = 0; said = 0; copy = 0; lease = L; left_ = D; oword = 0; osaid = 0; vm = 1;
		printf("state: life %d begins\n", life) }
	/* ---- the office ---- */
	:: d_step { hb == SENT && hlife == slife && !dead -> hb = ACKED; left_ = D; if :: hword > oword -> oword = hword; osaid = hsaid :: else fi; printf("master: acknowledges, has word %d\n", oword) }
	:: d_step { !dead -> left_ = D; oword = 0; osaid = 0; printf("another office begins\n") }
	:: d_step { !dead && left_ == 0 && OUTLASTED -> dead = 1; printf("state: host 0 is dead; its VM runs: %d\n", vm); assert(!vm);
#ifdef REACH
		assert(!hung || life < LIVES)
#endif
	   }
	PROPOSE(0) PROPOSE(1)
	COMMIT(0) COMMIT(1)
	od
}
