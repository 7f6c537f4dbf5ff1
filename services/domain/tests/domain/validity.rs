//! Properties of the fence: whoever writes, whatever is lost on the way, readers agree on what counts.
//!
//! Writers here obey the one rule that the design gives them: a claim first, then events that name it, numbered 0, 1, 2 ….
//! Everything else is free: how many writers, when each takes over, what of theirs reaches the log late or never.

use std::collections::{BTreeMap, VecDeque};

use parley_domain::{Stamp, Validity, Verdict};
use proptest::prelude::*;

const WRITERS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Produces a claim; what it produced before is still on the way.
    Claim(usize),
    /// Produces the next event under its claim, once it knows the claim's offset.
    Event(usize),
    /// The oldest record on the way reaches the log.
    Arrive(usize),
    /// The oldest record on the way is lost for ever, and later ones are not.
    Lose(usize),
}

#[derive(Debug, Default)]
struct Writer {
    /// Where its latest claim lies, and the index of its next event.
    claim: Option<(u64, u64)>,
    on_the_way: VecDeque<Stamp>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..WRITERS).prop_flat_map(|writer| {
        prop_oneof![
            2 => Just(Step::Claim(writer)),
            8 => Just(Step::Event(writer)),
            8 => Just(Step::Arrive(writer)),
            1 => Just(Step::Lose(writer)),
        ]
    });
    prop::collection::vec(step, 0..200)
}

/// The log that comes of it.
fn log(steps: &[Step]) -> Vec<Stamp> {
    let mut log = Vec::new();
    let mut writers: [Writer; WRITERS] = Default::default();
    for step in steps {
        match *step {
            Step::Claim(writer) => {
                writers[writer].claim = None;
                writers[writer].on_the_way.push_back(Stamp::Claim);
            }
            Step::Event(writer) => {
                let writer = &mut writers[writer];
                if let Some((claim, next)) = &mut writer.claim {
                    writer.on_the_way.push_back(Stamp::Event { claim: *claim, index: *next });
                    *next += 1;
                }
            }
            Step::Arrive(writer) => {
                let writer = &mut writers[writer];
                let Some(stamp) = writer.on_the_way.pop_front() else { continue };
                // Only the last claim on the way is the one that it goes on under.
                if stamp == Stamp::Claim && !writer.on_the_way.contains(&Stamp::Claim) {
                    writer.claim = Some((log.len() as u64, 0));
                }
                log.push(stamp);
            }
            Step::Lose(writer) => drop(writers[writer].on_the_way.pop_front()),
        }
    }
    log
}

fn read(mut state: Validity, from: usize, log: &[Stamp]) -> Vec<Verdict> {
    let records = log.iter().enumerate().skip(from);
    records.map(|(offset, stamp)| state.admit(offset as u64, *stamp)).collect()
}

fn state_at(log: &[Stamp], upto: usize) -> Validity {
    let mut state = Validity::default();
    for (offset, stamp) in log[..upto].iter().enumerate() {
        state.admit(offset as u64, *stamp);
    }
    state
}

proptest! {
    /// Invariant: the valid events of a claim are a prefix 0..n of that claim's events, each once, in order, and all of
    /// them before the next claim. So a decision that rests on events 0..n rests on valid ones if its own is valid.
    #[test]
    fn valid_events_of_a_claim_are_a_prefix(steps in steps()) {
        let log = log(&steps);
        let mut valid: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut latest = None;
        for (offset, (stamp, verdict)) in log.iter().zip(read(Validity::default(), 0, &log)).enumerate() {
            match (stamp, verdict) {
                (Stamp::Claim, Verdict::Claim) => latest = Some(offset as u64),
                (Stamp::Event { claim, index }, Verdict::Valid) => {
                    prop_assert_eq!(Some(*claim), latest, "of the latest claim only");
                    valid.entry(*claim).or_default().push(*index);
                }
                (Stamp::Event { .. }, Verdict::Void) => {}
                (stamp, verdict) => prop_assert!(false, "{:?} is {:?}", stamp, verdict),
            }
        }
        for (claim, indices) in valid {
            prop_assert_eq!(&indices, &(0..indices.len() as u64).collect::<Vec<_>>(), "claim {}", claim);
        }
    }

    /// What is void is so for a reason: another claim has come, or an event of its claim before it is missing.
    #[test]
    fn nothing_is_void_without_a_reason(steps in steps()) {
        let log = log(&steps);
        let verdicts = read(Validity::default(), 0, &log);
        for (offset, stamp) in log.iter().enumerate() {
            let Stamp::Event { claim, index } = *stamp else { continue };
            let since = &log[claim as usize + 1..offset];
            let superseded = since.contains(&Stamp::Claim);
            let missing = (0..index).any(|earlier| !since.contains(&Stamp::Event { claim, index: earlier }));
            let expected = if superseded || missing { Verdict::Void } else { Verdict::Valid };
            prop_assert_eq!(verdicts[offset], expected, "{} {:?}", offset, stamp);
        }
    }

    /// A reader with a checkpoint goes on as if it had read everything.
    #[test]
    fn a_checkpoint_goes_on(steps in steps(), cut in any::<prop::sample::Index>()) {
        let log = log(&steps);
        let cut = cut.index(log.len() + 1);
        let whole = read(Validity::default(), 0, &log);
        prop_assert_eq!(read(state_at(&log, cut), cut, &log), &whole[cut..]);
    }

    /// A reader without one skips what it can't judge, up to the next claim, and then agrees.
    #[test]
    fn beginning_anywhere_never_takes_a_void_record(steps in steps(), cut in any::<prop::sample::Index>()) {
        let log = log(&steps);
        let cut = cut.index(log.len() + 1);
        let (whole, cold) = (read(Validity::default(), 0, &log), read(Validity::default(), cut, &log));
        let claim = cold.iter().position(|verdict| *verdict == Verdict::Claim).unwrap_or(cold.len());
        prop_assert!(cold[..claim].iter().all(|verdict| *verdict == Verdict::Void));
        prop_assert_eq!(&cold[claim..], &whole[cut + claim..]);
    }

    /// Total: no stamps at all make it panic, and claims are always taken.
    #[test]
    fn any_stamps_are_judged(stamps in prop::collection::vec(prop::option::of((any::<u64>(), any::<u64>())), 0..50), from in any::<u64>()) {
        let mut state = Validity { claim: Some(from), next_index: from };
        for (offset, stamp) in stamps.into_iter().enumerate() {
            let stamp = stamp.map_or(Stamp::Claim, |(claim, index)| Stamp::Event { claim, index });
            let verdict = state.admit(offset as u64, stamp);
            prop_assert_eq!(verdict == Verdict::Claim, stamp == Stamp::Claim);
        }
    }
}
