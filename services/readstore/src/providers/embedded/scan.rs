//! Walking over pairs, with jumps.

use super::engine::View;
use super::keys::Key;
use super::walk::Walk;
use crate::Error;

/// A key and its value.
pub(super) type Pair = (fjall::UserKey, fjall::UserValue);

/// How many pairs to walk over before a jump, at most. A jump costs about as much as some ten steps.
const STEPS_MAX: usize = 16;

/// A place in a range of pairs. [`Scan::seek`] walks short ways and jumps long ones, so that a pass over all members
/// costs a step for each row where members have few rows, and no more than a jump a member where they have many.
pub(super) struct Scan<'a> {
    view: &'a View,
    end: Key,
    rest: Walk,
    head: Option<Pair>,
    /// How many pairs to walk over at the next seek: ways are as long as they just were, so where walking was in vain
    /// the next seek jumps sooner.
    steps: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(view: &'a View, from: &[u8], end: Key) -> Result<Self, Error> {
        let rest = view.range(from, end.as_slice());
        let mut scan = Self { view, end, rest, head: None, steps: STEPS_MAX };
        scan.advance()?;
        Ok(scan)
    }

    /// The pair here, if the range isn't at its end.
    pub(super) fn head(&self) -> Option<(&[u8], &[u8])> {
        self.head.as_ref().map(|(key, value)| (&**key, &**value))
    }

    /// Goes to the next pair.
    pub(super) fn advance(&mut self) -> Result<(), Error> {
        self.head = self.rest.next().transpose()?;
        Ok(())
    }

    /// Takes the pair here and goes on.
    pub(super) fn take(&mut self) -> Result<Option<Pair>, Error> {
        let head = self.head.take();
        if head.is_some() {
            self.advance()?;
        }
        Ok(head)
    }

    /// Goes forward to the first pair that isn't before `key`, without walking.
    pub(super) fn jump(&mut self, key: &[u8]) -> Result<(), Error> {
        self.rest.seek(key, self.view.stored(key, self.end.as_slice()));
        self.advance()
    }

    /// Goes forward to the first pair that isn't before `key`.
    pub(super) fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        for walked in 0..self.steps {
            match &self.head {
                Some((here, _)) if &**here < key => self.advance()?,
                Some(_) | None => {
                    // What is here already says nothing of the ways.
                    self.steps = (self.steps + walked.min(1)).min(STEPS_MAX);
                    return Ok(());
                }
            }
        }
        if self.head.as_ref().is_some_and(|(here, _)| &**here < key) {
            self.jump(key)?;
            self.steps = (self.steps / 2).max(1);
        }
        Ok(())
    }
}
