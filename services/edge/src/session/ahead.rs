//! Reading on while a frame is being answered.

use std::collections::VecDeque;

use bytes::Bytes;
use parley_wire::code::Close;

/// What is read while a frame is being answered; beyond that the client waits, and its pings too.
const FRAMES_MAX: usize = 1_024;
const BYTES_MAX: usize = 256 * 1024;

/// Frames that were read while another one was being answered, in their order.
#[derive(Default)]
pub(super) struct Ahead {
    texts: VecDeque<Option<Bytes>>,
    bytes: usize,
    /// Nothing follows: how the connection ends.
    ended: Option<Option<Close>>,
}

impl Ahead {
    pub(super) fn has_space(&self) -> bool {
        self.ended.is_none() && self.texts.len() < FRAMES_MAX && self.bytes < BYTES_MAX
    }

    /// Behind the frames that were read, the client's side ended.
    pub(super) fn end(&mut self, close: Option<Close>) {
        self.ended = Some(close);
    }

    /// How the client's side ended, once there is nothing to be taken.
    pub(super) fn ended(&self) -> Option<Option<Close>> {
        self.ended
    }

    pub(super) fn add(&mut self, text: Option<Bytes>) {
        self.bytes += text.as_ref().map_or(0, Bytes::len);
        self.texts.push_back(text);
    }

    pub(super) fn take(&mut self) -> Option<Option<Bytes>> {
        let text = self.texts.pop_front()?;
        self.bytes -= text.as_ref().map_or(0, Bytes::len);
        if self.texts.is_empty() {
            self.texts = VecDeque::new(); // a connection that idles holds no memory for this
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_ahead_comes_in_order_and_is_bounded() {
        let mut ahead = Ahead::default();
        ahead.add(Some(Bytes::from_static(b"one")));
        ahead.add(None);
        assert_eq!(ahead.take(), Some(Some(Bytes::from_static(b"one"))));
        assert_eq!((ahead.take(), ahead.take()), (Some(None), None));
        ahead.add(Some(Bytes::from(vec![0; BYTES_MAX])));
        assert!(!ahead.has_space(), "bytes");
        assert!(ahead.take().is_some() && ahead.has_space());
        (0..FRAMES_MAX).for_each(|_| ahead.add(None));
        assert!(!ahead.has_space(), "frames");
    }

    #[test]
    fn nothing_is_read_behind_the_end() {
        let mut ahead = Ahead::default();
        ahead.add(None);
        assert_eq!(ahead.ended(), None);
        ahead.end(Some(Close::Normal));
        assert!(!ahead.has_space());
        assert_eq!((ahead.take(), ahead.take()), (Some(None), None), "what came before it is still taken");
        assert_eq!(ahead.ended(), Some(Some(Close::Normal)));
    }
}
