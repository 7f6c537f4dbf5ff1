//! Reads frames from a segment file in chunks, by position, so that readers share nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::frame::{self, Fault, Frame, PREFIX_BYTES};

/// Reads frames one after the other, up to a limit beyond which nothing may be looked at.
#[derive(Debug)]
pub(super) struct FrameReader {
    file: File,
    salt: u32,
    chunk_bytes: usize,
    /// Where in the file the next frame begins.
    pos: u64,
    /// Where in the file reading must stop: what lies beyond isn't durable.
    limit: u64,
    buffer: Vec<u8>,
    /// How much of the buffer was taken already; `pos` is the file's place of this byte.
    taken: usize,
}

/// What lies next.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A whole frame, which begins at `at`; the reader is past it now.
    Frame {
        /// The place in the file, in bytes.
        at: u64,
        /// The frame.
        frame: Frame<'a>,
    },
    /// The limit.
    End,
    /// No whole frame; the reader stays before it.
    Fault(Fault),
}

impl FrameReader {
    /// Begins at `pos`, which must be the start of a frame.
    pub(super) fn new(file: File, salt: u32, pos: u64, limit: u64, chunk_bytes: usize) -> Self {
        Self { file, salt, chunk_bytes, pos, limit, buffer: Vec::new(), taken: 0 }
    }

    /// Where the next frame begins.
    pub(super) fn pos(&self) -> u64 {
        self.pos
    }

    /// Where reading must stop.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// The file that is read.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Lets it read further, since the file has grown.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Goes on at a later frame, without reading again what is buffered already.
    pub(super) fn skip_to(&mut self, pos: u64) {
        let ahead = usize::try_from(pos.saturating_sub(self.pos)).unwrap_or(usize::MAX);
        if pos >= self.pos && ahead <= self.buffer.len() - self.taken {
            self.taken += ahead;
        } else {
            self.buffer.clear();
            self.taken = 0;
        }
        self.pos = pos;
    }

    /// The next frame.
    ///
    /// # Errors
    /// If the file can't be read.
    pub(super) fn next(&mut self) -> io::Result<Step<'_>> {
        if self.pos >= self.limit {
            return Ok(Step::End);
        }
        self.fill(PREFIX_BYTES)?;
        if let Ok(whole) = frame::bytes_of(self.buffered()) {
            self.fill(whole)?;
        }
        match frame::parse(self.buffer.get(self.taken..).unwrap_or_default(), self.salt) {
            Ok(frame) => {
                let at = self.pos;
                self.taken += frame.bytes;
                self.pos += frame.bytes as u64;
                Ok(Step::Frame { at, frame })
            }
            Err(fault) => Ok(Step::Fault(fault)),
        }
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Makes at least `wanted` bytes available, or all up to the limit.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        let have = self.buffered().len();
        let left = usize::try_from(self.limit - self.pos).unwrap_or(usize::MAX);
        if have >= wanted.min(left) {
            return Ok(());
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let target = wanted.max(self.chunk_bytes).min(left);
        self.buffer.resize(target, 0);
        let filled = self.buffer.get_mut(have..).unwrap_or_default();
        if let Err(error) = self.file.read_exact_at(filled, self.pos + have as u64) {
            self.buffer.truncate(have);
            return Err(error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::frame::Placement;
    use super::*;
    use crate::{Record, Topic, TopicPartition};

    /// Ten frames of about 1 KB, and where each begins.
    fn file() -> (File, Vec<u64>, u64) {
        let at = TopicPartition { topic: Topic::Acks, partition: 0 };
        let record = Record {
            key: None,
            value: vec![3; 1_000].into(),
            id: parley_domain::EventId::from_bytes([0; 16]),
            kind: "parley.test.v1".into(),
            source: "test".into(),
            time: parley_domain::Timestamp(0),
            stamp: parley_domain::Stamp::Claim,
            trace: None,
            decoded: parley_wire::decoded::Decoded::default(),
        };
        let (mut bytes, mut begins) = (Vec::new(), Vec::new());
        for ordinal in 0..10 {
            begins.push(bytes.len() as u64);
            frame::encode(&mut bytes, 5, Placement { ordinal, at, offset: ordinal, first: true }, &record);
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, begins, bytes.len() as u64)
    }

    fn ordinal(reader: &mut FrameReader) -> Option<u64> {
        match reader.next().unwrap() {
            Step::Frame { frame, .. } => Some(frame.place.ordinal),
            Step::End => None,
            Step::Fault(fault) => panic!("{fault}"),
        }
    }

    #[test]
    fn frames_are_read_and_skipped_whatever_the_chunk() {
        for chunk_bytes in [1, 12, 700, 5_000, 1 << 20] {
            let (file, begins, end) = file();
            let mut reader = FrameReader::new(file, 5, 0, begins[9], chunk_bytes);
            assert_eq!(ordinal(&mut reader), Some(0));
            assert_eq!(ordinal(&mut reader), Some(1));
            for skip in [4, 5, 8, 2] {
                reader.skip_to(begins[skip]);
                assert_eq!(ordinal(&mut reader), Some(skip as u64), "chunks of {chunk_bytes}");
            }
            reader.skip_to(begins[8]);
            assert_eq!(ordinal(&mut reader), Some(8));
            assert_eq!(ordinal(&mut reader), None, "the limit");
            reader.set_limit(end);
            assert_eq!(ordinal(&mut reader), Some(9), "it may go further now");
            assert_eq!((ordinal(&mut reader), reader.pos()), (None, end));
        }
    }
}
