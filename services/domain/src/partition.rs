//! Where a group's events lie. Computed by us, never by a client library's default.

/// A place in the log: offset within a partition. Offsets rise, but need not be dense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// The partition.
    pub partition: u32,
    /// The offset within it.
    pub offset: u64,
}

/// A number of partitions: a power of two, fixed for the life of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCount(u32);

impl PartitionCount {
    /// 64 partitions.
    pub const DEFAULT: Self = Self(64);

    /// A power of two from 1 to 4,096; `None` for anything else.
    #[must_use]
    pub fn new(count: u32) -> Option<Self> {
        (count.is_power_of_two() && count <= 4_096).then_some(Self(count))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Kafka's murmur2 (seed 0x9747b28c), as the Java client's default partitioner computes it.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut h: u32 = 0x9747_b28c ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = chunk.iter().rev().fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M);
        h ^= k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        h ^= rest.iter().rev().fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of a key: murmur2 as Kafka does it, made positive, modulo the count.
///
/// The key of a group is its id in text form, since that is what an outsider sees as the record's key.
#[must_use]
pub fn partition_of(key: &[u8], count: PartitionCount) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % count.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values from Apache Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_equals_kafkas() {
        let golden: [(&str, i32); 7] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ];
        for (text, expected) in golden {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn partitions_are_a_power_of_two() {
        assert!(PartitionCount::new(0).is_none());
        assert!(PartitionCount::new(48).is_none());
        assert_eq!(PartitionCount::new(64), Some(PartitionCount::DEFAULT));
    }
}
