//! What waits for the log's thread, in the order of the calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::port::{AppendError, Appending, TopicPartition};
use crate::record::Record;

use super::frame;

/// One `append`.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) records: Vec<(TopicPartition, Record)>,
    /// How many bytes its frames take at most.
    pub(super) bytes: usize,
    pub(super) reply: oneshot::Sender<Result<Vec<u64>, AppendError>>,
}

impl Item {
    /// Tells the caller. That nobody listens any more is fine.
    pub(super) fn answer(self, outcome: Result<Vec<u64>, AppendError>) {
        drop(self.reply.send(outcome));
    }
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// Bytes of the items, and of those that the thread has taken but not yet answered.
    bytes: usize,
    closed: bool,
}

/// The queue in front of the thread, bounded by bytes.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    bytes_max: usize,
}

/// What the thread is to do next.
#[derive(Debug)]
pub(super) enum Work {
    /// These, in this order, in one commit.
    Batch(Vec<Item>),
    /// Nothing came within the given time.
    Idle,
    /// Nothing waits, and nothing will come.
    Closed,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { waiting: Mutex::default(), filled: Condvar::new(), bytes_max }
    }

    /// Puts an append at the end, or refuses it.
    ///
    /// What comes after a refused append may be taken again: it has a hole before it, so that it is void under the
    /// rule of the claims, should its caller not have looked at the refusal.
    pub(super) fn push(&self, records: Vec<(TopicPartition, Record)>) -> Appending {
        let (reply, appending) = oneshot::channel();
        let bytes = records.iter().map(|(_, record)| frame::bytes_at_most(record)).sum();
        let item = Item { records, bytes, reply };
        let mut waiting = self.waiting.lock();
        let refusal = if waiting.closed {
            Some("the log is closed")
        } else if waiting.bytes.saturating_add(bytes) > self.bytes_max {
            Some("too much waits for the disk already")
        } else {
            None
        };
        if let Some(reason) = refusal {
            drop(waiting);
            item.answer(Err(AppendError::NotAppended(Arc::from(reason))));
        } else {
            waiting.bytes += bytes;
            waiting.items.push_back(item);
            drop(waiting);
            self.filled.notify_one();
        }
        appending
    }

    /// Waits for work; for ever, if no time is given. A batch has at least one item, and more up to `batch_bytes_max`.
    pub(super) fn next(&self, batch_bytes_max: usize, patience: Option<Duration>) -> Work {
        let mut waiting = self.waiting.lock();
        while waiting.items.is_empty() {
            if waiting.closed {
                return Work::Closed;
            }
            match patience {
                None => self.filled.wait(&mut waiting),
                Some(patience) if self.filled.wait_for(&mut waiting, patience).timed_out() => {
                    return Work::Idle;
                }
                Some(_) => {}
            }
        }
        // Whoever shares this core goes first, since they may have more to append: the more lies in one commit the less all of it
        // costs. Nobody else takes items, and where a core is free this takes no time.
        MutexGuard::unlocked(&mut waiting, thread::yield_now);
        let mut batch = Vec::new();
        let mut bytes = 0usize;
        while let Some(item) = waiting.items.pop_front() {
            if !batch.is_empty() && bytes.saturating_add(item.bytes) > batch_bytes_max {
                waiting.items.push_front(item);
                break;
            }
            bytes += item.bytes;
            batch.push(item);
        }
        Work::Batch(batch)
    }

    /// Gives the room of answered items back.
    pub(super) fn release(&self, bytes: usize) {
        self.waiting.lock().bytes -= bytes;
    }

    /// Answers a batch that failed, and with it all that waits: those callers don't know yet that something before
    /// theirs is missing. One lock, so that nothing is queued between the two.
    pub(super) fn fail(&self, batch: Vec<Item>, failure: &AppendError) {
        let mut waiting = self.waiting.lock();
        for item in batch {
            waiting.bytes -= item.bytes;
            item.answer(Err(failure.clone()));
        }
        let (AppendError::NotAppended(reason) | AppendError::Unknown(reason)) = failure;
        while let Some(item) = waiting.items.pop_front() {
            waiting.bytes -= item.bytes;
            item.answer(Err(AppendError::NotAppended(Arc::clone(reason))));
        }
    }

    /// Takes nothing more. What waits is still done.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.filled.notify_all();
    }
}
