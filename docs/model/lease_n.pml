/* lease_n.pml: the lease by network, from the heartbeat to the committed death.
 *
 * What is modelled, and the code beside it
 *   host 0 in one incarnation sends heartbeats and takes acknowledgements        cluster/host/heartbeat.go
 *   three voters; each of them may be elected, host 0 too                        cluster/raftnode
 *   on each host the office: confirm the election, take office in the state,
 *     receive, confirm, acknowledge, suspect, withdraw, condemn, propose         cluster/master
 *   the state machine: epochs, and DeclareDead refused in a later one            fsm/apply.go
 *
 * What must hold: when DeclareDead is applied host 0 has no lease, and it gets none after.
 *
 * Time. One tick for all. What is counted down is "moment - now" on its owner's clock. Between two
 * ticks any number of steps happen in any order: a process that is frozen or slow does anything at
 * any time. DRIFT ticks pass for the masters alone, so host 0 has the slow clock.
 *
 * Abstractions, and why they lose no counterexample
 *   A lease that has ended is over (R4). Nothing can go wrong after, so the search ends there;
 *     -DREVIVE drops the rule and searches on.
 *   Watchdog, reset and drain lengthen D and what D waits for alike: left out on both sides.
 *   Raft. Terms are numbered by the moment at which a majority of votes is there. Every majority
 *     that commits for an earlier leader shares a voter with it, so an earlier leader commits
 *     nothing from then on; it may learn late of what it committed before. So voters agree to an
 *     entry only while its proposer leads the latest term.
 *   A proposal that is made later than that is lost. One that is made in time may be committed in
 *     its own term or in a later one, until a later leader commits an entry of its own: by then it
 *     is committed or lost.
 *   Epochs. All that is asked of an epoch is whether it is the state's present one.
 *   An office stays until its host begins the next one: nothing can be done without an office
 *     that cannot be done with one. -DPROMPT: it ends, at the latest, when its host is elected again.
 *   A suspicion that is never acted upon does nothing but refuse: it begins with the condemnation.
 *     (Mutations that need it have it.) A withdrawal is then nothing at all.
 *   The confirmations before a suspicion and a condemnation only delay: left out.
 *   An acknowledgement reads the state as it was at its confirmation; later would refuse more.
 *   A lost message is one that is not delivered. What is worth nothing any more is forgotten.
 *
 * -DUNBOUND: an office is not bound to its epoch: Elected is read before the office is committed, and an
 *   acknowledgement does not ask whether the state is still in the office's epoch. That is right only if
 *   an office ends before its host is elected again (-DPROMPT).
 *
 * Bounds: TMAX elections, a lease of L ticks, NHB heartbeats under way at once.
 */
#ifndef L
#define L 3
#endif
#ifndef MU
#define MU 1            /* the allowance for the clocks in D */
#endif
#ifndef DRIFT
#define DRIFT 1
#endif
#ifndef TMAX
#define TMAX 3
#endif
#ifndef NHB
#define NHB 1
#endif
#define D (L+MU)
#define NH 3

/* raft and the state machine */
byte term, lead;        /* the latest term with a majority, and its leader */
bit  dead;              /* committed: host 0's incarnation is dead */

/* the office on each host */
#define NO 0
#define ELECTED 1       /* it has confirmed its election and read its clock */
#define OFFICE 2
byte st[NH];
bit  mine[NH];          /* the office's epoch is the state's */
byte left_[NH];         /* ticks until max(Acknowledged, Elected) + D */
bit  cond[NH];          /* condemned: DeclareDead was proposed in this office */
byte pend[NH];          /* the term in which a DeclareDead was proposed whose fate is open; 0: none */
bit  pmine[NH];         /* it names the state's epoch */
#if defined(ACK_SUSPECT) || defined(ACK_CONDEMNED)
#define SUSPICION
bit  sus[NH];
#endif
#ifdef STALE_CONFIRM
bit  once[NH];          /* has confirmed before, in this office */
#endif

/* host 0 and its heartbeats */
byte lease = L, drift = DRIFT;
#define FREE 0
#define SENT 1
#define RECEIVED 2
#define CONFIRMED 3
#define ACKED 4
byte hb[NHB], worth[NHB], by[NHB];      /* worth: sent + L - now; by: whose office received it */

inline forget(i)   { hb[i] = FREE; worth[i] = 0; by[i] = 0 }
inline disown(c,i) { if :: by[i] == c && (hb[i] == RECEIVED || hb[i] == CONFIRMED) -> forget(i) :: else fi }
inline leave(c)    {
	st[c] = NO; mine[c] = 0; left_[c] = 0; cond[c] = 0; disown(c,0);
#if NHB > 1
	disown(c,1);
#endif
#ifdef SUSPICION
	sus[c] = 0;
#endif
#ifdef STALE_CONFIRM
	once[c] = 0
#endif
}
inline down(x)     { if :: x > 0 -> x-- :: else fi }
inline fade(i)     { if :: worth[i] > 0 -> worth[i]--; if :: worth[i] == 0 -> forget(i) :: else fi :: else fi }
inline masters()   { down(left_[0]); down(left_[1]); down(left_[2]) }
inline settle(c)   { if :: pend[c] != 0 && pend[c] < term -> pend[c] = 0; pmine[c] = 0 :: else fi }
/* an entry of this term is committed: what was proposed in earlier ones is committed or lost by now */
inline committed() { settle(0); settle(1); settle(2) }

/* ---- raft ---- */
#ifdef PROMPT
#define END_OLD(c) leave(c);
#else
#define END_OLD(c)
#endif
#define WIN(c) :: d_step { term < TMAX -> term++; lead = c; END_OLD(c) printf("term %d: host %d is elected\n", term, c) }
#ifdef NO_EPOCH
#define NAMES_EPOCH(c) (true)
#else
#define NAMES_EPOCH(c) (pmine[c])
#endif
#define DIES(c) :: d_step { pend[c] != 0 && NAMES_EPOCH(c) -> pend[c] = 0; pmine[c] = 0; dead = 1; \
	printf("DeclareDead, proposed by host %d, is committed: host 0 has a lease of %d ticks\n", c, lease); assert(lease == 0) }

/* ---- Master.Hold ---- */
#ifndef UNBOUND
#define AT_ELECTION(c)
#define AT_OFFICE(c) left_[c] = D;
#else
#define AT_ELECTION(c) left_[c] = D;
#define AT_OFFICE(c)
#endif
#ifdef NO_ELECTION_WAIT
#undef AT_ELECTION
#undef AT_OFFICE
#define AT_ELECTION(c)
#define AT_OFFICE(c)
#endif
#define CONFIRM_ELECTION(c) :: d_step { lead == c -> leave(c); committed(); st[c] = ELECTED; AT_ELECTION(c) printf("host %d confirms its election and reads its clock\n", c) }
#define TAKE_OFFICE(c) :: d_step { st[c] == ELECTED && lead == c -> committed(); mine[0] = 0; mine[1] = 0; mine[2] = 0; pmine[0] = 0; pmine[1] = 0; pmine[2] = 0; \
	mine[c] = 1; st[c] = OFFICE; AT_OFFICE(c) printf("host %d takes office, a new epoch\n", c) }

/* ---- Master.Heartbeat ---- */
#ifndef UNBOUND
#define SAME_EPOCH(c) (mine[c])
#else
#define SAME_EPOCH(c) (true)
#endif
#ifdef NO_CONFIRM                       /* its copy of the state may be of any age */
#define PROVEN(c) (true)
#elif defined(STALE_CONFIRM)
#define PROVEN(c) (lead == c && SAME_EPOCH(c) && !dead || once[c])
#define ONCE(c) :: d_step { st[c] == OFFICE && lead == c && !once[c] -> once[c] = 1; printf("host %d confirms that it leads\n", c) }
#else
#define PROVEN(c) (lead == c && SAME_EPOCH(c) && !dead)
#endif
#ifndef STALE_CONFIRM
#define ONCE(c)
#endif
#ifdef FROM_ACK
#define AT_ACK(i) worth[i] = L;
#else
#define AT_ACK(i)
#endif
#ifdef FROM_ANSWER
#define WORTH(i) L
#else
#define WORTH(i) worth[i]
#endif
#if defined(ACK_CONDEMNED)
#define REFUSED(c) (sus[c])
#define NOTE(c) left_[c] = D;
#elif defined(ACK_SUSPECT)              /* and the wait that is under way goes on */
#define REFUSED(c) (cond[c])
#define NOTE(c) if :: sus[c] :: else -> left_[c] = D fi;
#else
#define REFUSED(c) (cond[c])
#define NOTE(c) left_[c] = D;
#endif
#define RECEIVE(c,i) :: d_step { hb[i] == SENT && st[c] == OFFICE -> hb[i] = RECEIVED; by[i] = c; printf("host %d receives the heartbeat\n", c) }
#define CONFIRM(c,i) :: d_step { hb[i] == RECEIVED && by[i] == c && PROVEN(c) -> hb[i] = CONFIRMED; \
	if :: lead == c -> committed() :: else fi; printf("host %d has confirmed that it leads\n", c) }
#define ACKNOWLEDGE(c,i) :: d_step { hb[i] == CONFIRMED && by[i] == c && !REFUSED(c) -> hb[i] = ACKED; by[i] = 0; AT_ACK(i) NOTE(c) printf("host %d acknowledges\n", c) }

/* ---- carryOut ---- */
#ifdef SUSPICION
#define SUSPECTED(c) (sus[c])
#ifdef ACK_CONDEMNED
#define MAY_WITHDRAW(c) (sus[c])
#else
#define MAY_WITHDRAW(c) (sus[c] && !cond[c])
#endif
#define SUSPECT(c) :: d_step { st[c] == OFFICE && !sus[c] -> sus[c] = 1; printf("host %d suspects host 0\n", c) } \
	:: d_step { st[c] == OFFICE && MAY_WITHDRAW(c) -> sus[c] = 0; printf("host %d withdraws its suspicion\n", c) }
#else
#define SUSPECTED(c) (true)
#define SUSPECT(c)
#endif
#define CONDEMN(c) :: d_step { st[c] == OFFICE && SUSPECTED(c) && !cond[c] && left_[c] == 0 && pend[c] == 0 && !dead -> cond[c] = 1; \
	if :: lead == c -> pend[c] = term; pmine[c] = mine[c] :: else fi; printf("host %d condemns host 0\n", c) }

/* ---- host 0 ---- */
#ifdef REVIVE
#define HELD (true)
#else
#define HELD (lease > 0)
#endif
#define SEND(i)  :: d_step { hb[i] == FREE && HELD -> hb[i] = SENT; worth[i] = L; printf("host 0 sends a heartbeat\n") }
#define LOSE(i)  :: d_step { hb[i] == ACKED -> forget(i); printf("the answer is lost\n") }
#define RENEW(i) :: d_step { hb[i] == ACKED && HELD && WORTH(i) > lease -> lease = WORTH(i); forget(i); printf("host 0 renews its lease: %d ticks\n", lease); assert(!dead) }

#define HOSTS(A)   A(0) A(1) A(2)
#if NHB == 1
#define BEATS(A)   A(0)
#define EACH(A,c)  A(c,0)
#else
#define BEATS(A)   A(0) A(1)
#define EACH(A,c)  A(c,0) A(c,1)
#endif
#define RECEIVE_(c)     EACH(RECEIVE,c)
#define CONFIRM_(c)     EACH(CONFIRM,c)
#define ACKNOWLEDGE_(c) EACH(ACKNOWLEDGE,c)

active proctype world() {
	/* somebody holds the office and has just acknowledged host 0; hosts 1 and 2 are alike */
	d_step { term = 1 };
	if :: lead = 0 :: lead = 1 fi;
	d_step { st[lead] = OFFICE; mine[lead] = 1; left_[lead] = D };
end:	do
	:: atomic {
		d_step { down(lease); masters(); fade(0);
#if NHB > 1
			fade(1);
#endif
			printf("-- tick: lease %d\n", lease) };
#if !defined(REVIVE) && !defined(REACH)
		if :: lease == 0 -> break :: else fi
#endif
	   }
	:: d_step { drift > 0 -> drift--; masters(); printf("-- tick for the masters alone\n") }
	HOSTS(WIN) HOSTS(DIES)
	HOSTS(CONFIRM_ELECTION) HOSTS(TAKE_OFFICE)
	HOSTS(RECEIVE_) HOSTS(CONFIRM_) HOSTS(ACKNOWLEDGE_) HOSTS(ONCE)
	HOSTS(SUSPECT) HOSTS(CONDEMN)
	BEATS(SEND) BEATS(LOSE) BEATS(RENEW)
#ifdef REACH
	:: d_step { dead -> assert(false) }
#endif
	od
}
