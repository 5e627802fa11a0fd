/* sighting.pml: a VM that runs already is protected, or one is started by hand, while its host's
 * copy of the state is old.
 *
 * What is modelled, and the code beside it
 *   host 0, where a person starts the VM by hand; its list, its record (Known), its
 *     guard's entry, its copy of the state, which lags and is lost by a restart     cluster/host: Decide
 *   the state: Protect, Adopt, the host's word (Report), Assign, Unprotect with
 *     Loose, DeclareDead, BeginIncarnation                                          fsm/apply.go
 *   host 1, which may be given the VM and runs it from that moment on               (orders.pml has the detail)
 *
 * What must hold: while host 1 owns the protected VM it does not run on host 0 (S1).
 *
 * -DROUND: a person may also start the VM again that host 0 owns. Between that start and the next list
 *   nothing covers the new process, which only a hook of the hypervisor's could help, so S1 is not asked.
 *   What must hold instead: after a round that saw a process, that process is covered.
 * -DPROOF: the same, and: a host that asks for a new life does not run what it owns.
 *
 * What is taken from the other models
 *   (lease_n) A host is declared dead only when its lease has ended, and that lease does not come back.
 *   (guard) At the end of a lease what is covered is gone. What is not covered is not.
 *
 * What a person is trusted with (docs/safety.md, "what the proof rests on"): the VM is started by hand
 *   on host 0 only, and only while the host's lease is held and nobody else may be starting it: it is not
 *   protected, or it shall not run. It is protected and ordered to
 *   start elsewhere only when the last report of host 0 was true, or when nobody can know (Loose).
 *
 * Abstractions, and why they lose no counterexample
 *   The history of the state is kept as what host 0 reads in it: whether the VM is protected,
 *     the generation of a sighting here, of a placement here, and whether somebody else owns it.
 *   A report that host 0 has sent stays on its way: a late one is the worse case.
 *   Host 0 is never given the VM by an order: orders.pml.
 *   Processes are numbered; two are enough, since the number only tells one from the one before.
 *
 * Bounds: VMAX changes of the state, IMAX incarnations of host 0, RESTARTS of its agent, HANDS starts by hand.
 */
#ifndef VMAX
#define VMAX 6
#endif
#ifndef IMAX
#define IMAX 2
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif
#ifndef HANDS
#define HANDS 2
#endif

/* ---- the state ---- */
#define NOBODY 0
#define HERE 1
#define ELSEWHERE 2
byte ver, gen;
bit  prot, wanted, loose;          /* protected; it shall run; host 0 may run it though it was let go */
byte sight;                     /* generation of a sighting on host 0 */
byte own, og, oi;               /* owner; its generation and incarnation when it is host 0 */
byte finc = 1;
bit  fdead;
bit  letgo;                     /* it went on running on host 0 when it was let go: nobody can know elsewhere */
/* what host 0 reads in each version */
bit  hp[VMAX+1];
byte hs[VMAX+1], ho[VMAX+1], hi[VMAX+1];

/* ---- host 0 ---- */
byte proc, hands = HANDS;       /* the process, by its number; 0: none */
byte inc = 1;
bit  lease = 1, over, known, trust = 1, asked;
byte copy, from;                /* version of the copy; the one from which it is trusted */
byte cov;                       /* the process that the guard covers */
#define UNSEEN 9
byte list = UNSEEN;
byte restarts = RESTARTS;
/* ---- on the way to the master, or there ---- */
bit  rep;                       /* the last report says that it runs */
byte runs, gone, released;      /* generations: "it runs and is guarded", "it does not run", "given back" */
byte begin;                     /* a request for the life after this one */

inline change() { ver++; hp[ver] = prot; hs[ver] = sight;
	if :: own == HERE -> ho[ver] = og; hi[ver] = oi :: own == ELSEWHERE -> ho[ver] = 255 :: else -> ho[ver] = 0 fi }
inline see()    { gen++;
#ifdef OWNER_AT_ONCE
	own = HERE; og = gen; oi = finc; wanted = 1
#else
	sight = gen
#endif
}
#if defined(ROUND) || defined(PROOF)
#define AGAIN
inline one()    { skip }
#else
inline one()    { assert(!(proc != 0 && own == ELSEWHERE && prot)) }
#endif
#ifdef PROOF
#define TRUE_PROOF assert(!(own == HERE && oi == inc && proc != 0));
#else
#define TRUE_PROOF
#endif
#define ROOM    (ver < VMAX)
#define LIVE    (!fdead)

#ifndef OLD_WORD               /* what a host says to a sighting rests on a list that is newer than the sighting */
#define RELIST list = UNSEEN
#else
#define RELIST skip
#endif
#ifndef OLD_LIST               /* the proof that nothing runs rests on a list from after the end */
#define AT_END list = UNSEEN;
#else
#define AT_END
#endif

active proctype world() {
end:	do
	/* ================ the state ================ */
	:: d_step { ROOM && !prot && rep && LIVE -> prot = 1; loose = 0; wanted = 1; see(); change(); printf("state: protected, seen running on host 0\n") }
	:: d_step { ROOM && !prot && !(rep && LIVE) && (proc == 0 || letgo) -> prot = 1; wanted = 0;
#ifndef NO_LOOSE
		if :: loose -> see() :: else fi;
#endif
		loose = 0; change(); printf("state: protected where it is defined\n") }
	:: d_step { ROOM && prot && own == NOBODY && sight == 0 && rep && LIVE -> see(); change(); printf("state: adopted, seen running on host 0\n") }
	:: d_step { prot && own == NOBODY && sight == 0 && !wanted && (proc == 0 || letgo) -> wanted = 1; printf("state: a person wants it running\n") }
	:: d_step { ROOM && prot && own == NOBODY && sight == 0 && wanted && !(rep && LIVE) -> gen++; own = ELSEWHERE; change(); printf("state: placed on host 1\n"); one() }
	:: d_step { ROOM && own == ELSEWHERE -> own = NOBODY; if :: wanted = 0 :: true fi; change(); printf("state: host 1 gives it back\n") }
	:: d_step { ROOM && prot && own != ELSEWHERE -> prot = 0; if :: own == HERE || sight != 0 -> loose = 1; letgo = (proc != 0) :: else fi; own = NOBODY; sight = 0; wanted = 0; change(); printf("state: let go\n") }
	/* the host's word */
	:: d_step { ROOM && sight != 0 && runs == sight && LIVE -> sight = 0; own = HERE; og = runs; oi = finc; wanted = 1; change(); printf("state: host 0 owns it\n") }
	:: d_step { ROOM && sight != 0 && gone == sight && LIVE -> sight = 0; if :: wanted = 0 :: wanted = 1 fi; change(); printf("state: it does not run on host 0\n") }
	:: d_step { ROOM && own == HERE && released == og && oi == finc && LIVE -> own = NOBODY; if :: wanted = 0 :: wanted = 1 fi; change(); printf("state: host 0 gave it back\n") }
	:: d_step { ROOM && !fdead && !lease -> fdead = 1; if :: own == HERE && oi == finc -> own = NOBODY; change() :: else fi; printf("state: host 0 is dead\n") }
	:: d_step { ROOM && begin == finc && finc < IMAX -> if :: own == HERE && oi == finc -> own = NOBODY; change() :: else fi; finc++; fdead = 0; printf("state: host 0 begins incarnation %d\n", finc);
		if :: asked -> inc = finc; over = 0; asked = 0; runs = 0; gone = 0; released = 0 :: asked = 0 fi }

	/* ================ persons and the hypervisor ================ */
	:: d_step { hands > 0 && proc == 0 && lease && (!prot || (own == NOBODY && sight == 0 && !wanted)) -> hands--; proc = HANDS - hands; letgo = 0; printf("a person starts it on host 0: process %d\n", proc); one() }
#ifdef AGAIN
	:: d_step { hands > 0 && lease && prot && own == HERE -> hands--; proc = HANDS - hands; letgo = 0; printf("a person starts it again on host 0: process %d\n", proc) }
#endif
	:: d_step { proc != 0 -> proc = 0; letgo = 0; printf("it ends on host 0\n") }

	/* ================ host 0 ================ */
	:: d_step { copy < ver -> copy++; if :: hs[copy] != 0 && hs[copy] != hs[copy-1] -> RELIST :: else fi }
	:: d_step { !trust && from == 0 -> from = ver + 1 }
	:: d_step { !trust && from != 0 && copy + 1 >= from -> trust = 1; from = 0 }
	:: d_step { list != proc -> list = proc }
	:: d_step { list != UNSEEN && rep != (list != 0) && lease -> rep = (list != 0) }
	/* a round: what to do is decided by the record of the round before, and Known is saved first */
	:: d_step { lease && trust && list != UNSEEN ->
		if
		:: hp[copy] && list != 0 ->
#ifndef BY_NAME
#define GUARDED (cov == list)
#else
#define GUARDED (cov != 0)      /* whichever process it is */
#endif
#ifdef NO_COVER
#undef GUARDED
#define GUARDED (true)
#endif
#ifdef NO_KNOWN
#define KNOWS (true)
#else
#define KNOWS (known)
#endif
			if
			:: hs[copy] != 0 && GUARDED && KNOWS -> runs = hs[copy]; printf("host 0 says that it runs and is guarded\n")
			:: else
			fi;
			if :: !GUARDED -> cov = list :: else fi;
			if :: ho[copy] == 255 && hs[copy] == 0 && list != UNSEEN && proc == list -> proc = 0; list = UNSEEN; cov = 0; printf("host 0 ends what another owns\n") :: else fi
		:: hp[copy] && list == 0 ->
			cov = 0;
			if
			:: hs[copy] != 0 -> gone = hs[copy]; printf("host 0 says that it does not run\n")
			:: hs[copy] == 0 && ho[copy] != 0 && ho[copy] != 255 && hi[copy] == inc -> released = ho[copy]; printf("host 0 gives it back\n")
			:: else
			fi
		:: else -> cov = 0
		fi;
		known = hp[copy]
#ifdef ROUND
		; assert(!(hp[copy] && list != 0 && list != UNSEEN && cov != list))     /* after a round that saw a process, that process is covered */
#endif
	}
	/* the end: the guard ends what it covers */
	:: d_step { lease -> lease = 0; over = 1; AT_END if :: cov != 0 && proc == cov -> proc = 0 :: else fi; cov = 0; printf("host 0: the lease has ended\n") }
	:: d_step { !lease -> if :: trust -> known = hp[copy] :: else fi;
		if :: known && list != 0 -> proc = 0; list = UNSEEN :: else fi }
	:: d_step { over && !lease && trust && (list == 0 || (list != UNSEEN && !hp[copy])) && !asked && inc == finc -> TRUE_PROOF known = hp[copy]; begin = inc; asked = 1; printf("host 0 asks for a new life\n") }
	:: d_step { over && !lease && trust && (list == 0 || (list != UNSEEN && !hp[copy])) && !asked && inc < finc -> begin = finc; asked = 1 }
	:: d_step { !lease && !over && inc == finc && !fdead -> lease = 1; printf("host 0: the lease of incarnation %d begins\n", inc) }
	:: d_step { restarts > 0 -> restarts--; list = UNSEEN; trust = 0; from = 0; asked = 0; if :: copy = 0 :: true fi; if :: !lease -> over = 1 :: else fi; printf("host 0: the agent is restarted\n") }
	od
}
