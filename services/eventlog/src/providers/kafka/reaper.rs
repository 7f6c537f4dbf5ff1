//! Lets go of consumers on a thread of its own, since that blocks until the client's threads have ended.

use std::sync::mpsc::{Sender, channel};

use super::error::OpenError;

/// Ends its thread when it is dropped and everything was let go.
#[derive(Debug)]
pub(super) struct Reaper {
    sender: Sender<Box<dyn Send>>,
}

impl Reaper {
    pub(super) fn start() -> Result<Self, OpenError> {
        let (sender, receiver) = channel::<Box<dyn Send>>();
        let thread = std::thread::Builder::new().name("parley-close".to_owned());
        thread.spawn(move || receiver.into_iter().for_each(drop)).map_err(OpenError::Thread)?;
        Ok(Self { sender })
    }

    /// Lets go of a consumer, or of one of several handles on it.
    pub(super) fn take(&self, consumer: impl Send + 'static) {
        // Without its thread it is let go here.
        drop(self.sender.send(Box::new(consumer)));
    }
}
