//! Lets go of consumers on a thread of its own, since that blocks until the client's threads have ended.

use std::sync::mpsc::{Sender, channel};

use rdkafka::consumer::BaseConsumer;

use super::client::Context;
use super::error::OpenError;

/// Ends its thread when it is dropped and everything was let go.
#[derive(Debug)]
pub(super) struct Reaper {
    sender: Sender<BaseConsumer<Context>>,
}

impl Reaper {
    pub(super) fn start() -> Result<Self, OpenError> {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().name("parley-close".to_owned());
        thread.spawn(move || receiver.into_iter().for_each(drop)).map_err(OpenError::Thread)?;
        Ok(Self { sender })
    }

    pub(super) fn take(&self, consumer: BaseConsumer<Context>) {
        // Without its thread it is let go here.
        drop(self.sender.send(consumer));
    }
}
